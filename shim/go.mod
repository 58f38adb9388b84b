module tesk/shim

go 1.19
