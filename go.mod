module github.com/palier-ota/palier

go 1.26
