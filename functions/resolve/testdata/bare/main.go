// Command bare is the least function there can be on aws-lambda-go: it takes bytes and answers with bytes that were made
// before. The benchmarks of resolve measure against it.
package main

import (
	"context"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
)

// answer is what every invocation gets.
type answer []byte

// Invoke implements lambda.Handler.
func (a answer) Invoke(context.Context, []byte) ([]byte, error) { return a, nil }

func main() { lambda.Start(answer(os.Getenv("BARE_ANSWER"))) }
