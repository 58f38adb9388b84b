"""An FTP server that answers anybody, on the port that it prints. Arguments: folder, seconds that each answer takes
(as over a line), and the address to listen on, where anybody may write then."""

import sys
import time
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it stands on asyncore, which Python has up to 3.11
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import FTPHandler
    from pyftpdlib.servers import MultiprocessFTPServer

FOLDER, WAIT_SECONDS = sys.argv[1], float(sys.argv[2])
ADDRESS = sys.argv[3] if len(sys.argv) > 3 else ""


class _Far(FTPHandler):
    """Each client has a process of its own, so who waits here keeps nobody else."""

    def pre_process_command(self, line: str, cmd: str, arg: str) -> None:
        if WAIT_SECONDS:
            time.sleep(WAIT_SECONDS)
        super().pre_process_command(line, cmd, arg)

    def log(self, *args: object, **named: object) -> None:
        """Say nothing."""

    logline = log


if __name__ == "__main__":
    users = DummyAuthorizer()
    users.add_anonymous(FOLDER, perm="elradfmwMT" if ADDRESS else "elr")
    _Far.authorizer = users
    server = MultiprocessFTPServer((ADDRESS or "127.0.0.1", 0), _Far)
    print(server.address[1], flush=True)
    server.serve_forever(handle_exit=False)
