package main

import (
	"io"
	"os"
	"path/filepath"
)

// prepare is the init container of the copying layout: it leaves this program in a folder, and makes the files that are
// mounted by themselves. Twice is once.
func prepare(folder string, files []string) error {
	if folder != "" {
		if err := install(folder); err != nil {
			return err
		}
	}
	for _, path := range files {
		if err := makeFile(path); err != nil {
			return err
		}
	}
	return nil
}

func install(folder string) error {
	source, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer source.Close()
	path := filepath.Join(folder, "tesk-shim")
	parts := path + ".part"
	target, err := os.OpenFile(parts, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	if err == nil {
		err = target.Chmod(0o755) // whatever the umask
	}
	if closed := target.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(parts, path)
	}
	return err
}

// makeFile makes an empty file that any user may write, in folders that any user may write. What is there stays.
func makeFile(path string) error {
	if err := makeFolder(filepath.Dir(path)); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if os.IsExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	return file.Chmod(0o666)
}

func makeFolder(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := makeFolder(filepath.Dir(path)); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o777); err != nil {
		return err
	}
	return os.Chmod(path, 0o777)
}
