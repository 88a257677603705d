module versus/swap

go 1.19

require versus/measure v0.0.0

replace versus/measure => ../../go
