"""What a script does: a loop of ftplib over all files of a folder. Arguments: port, folder there, folder here."""

import ftplib
import sys
from pathlib import Path

if __name__ == "__main__":
    port, there, here = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    server = ftplib.FTP()
    server.connect("127.0.0.1", port)
    server.login()
    server.cwd(there)
    for name in server.nlst():
        with (here / name).open("wb") as file:
            server.retrbinary(f"RETR {name}", file.write)
    server.quit()
