// Package bucket opens the bucket of a deployment for functions that do more with it than keep large Snapshots. It is
// apart from package cloud because S3's client makes the start of a function longer by a quarter: those that answer
// devices do without it, and read their rare large Snapshots by cloud.Environment.Large.
package bucket

import (
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/palier-ota/palier/internal/blob"
	blobs3 "github.com/palier-ota/palier/internal/blob/s3"
	"github.com/palier-ota/palier/internal/cloud"
)

// State returns the private bucket, which PALIER_STATE names. Ask the Environment's Err before it is used.
func State(e *cloud.Environment) blob.Store {
	name := e.Required("PALIER_STATE")
	config, endpoint := e.AWS("S3")
	client := s3.NewFromConfig(config, func(o *s3.Options) { o.BaseEndpoint = endpoint })
	return blobs3.New(client, name, blobs3.Options{PathStyle: endpoint != nil})
}
