// Package apigateway speaks the events of API Gateway's HTTP APIs, payload format 2.0: the form in which a function gets
// an HTTP request, and in which it answers.
//
// A typed event costs more to decode than an update check to decide, because most of it is headers that nobody reads.
// So Request scans an event for the few fields that matter, without reflection and without allocating once its buffer
// has grown, and AppendResponse writes the answer. Both are plain: any key order, all of JSON's escapes, bodies in
// base64. Serve is for programs that are a net/http handler already and not in such a hurry.
//
// The format is that of
// https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
package apigateway

// MaxPayloadBytes is what Lambda takes as one answer, 6 MB and 100 bytes; an event is never larger.
const MaxPayloadBytes = 6_291_556
