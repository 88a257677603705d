module versus/measure

go 1.19
