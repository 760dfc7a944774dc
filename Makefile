# Palier's commands. `make run` shows the product, `make test` proves it.

GO       ?= go
BIN      := bin
LDFLAGS  := -s -w
# a pinned tool, run through the module proxy without touching go.mod
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.7.0

.PHONY: run cloud-local build test race fuzz bench lint clean help need-go edge edge-check edge-fresh edge-fastly client functions validate-template deploy teardown validate-judge

ARGS ?=
run: build ## build and start Palier with its demo: no account, no configuration
	$(BIN)/palier serve --demo $(ARGS)

cloud-local: build functions ## the serverless shape on this machine, as template.yaml says, with a fleet and two rollouts
	$(BIN)/palier cloud-local --time-scale 1440 --fleet 500 $(ARGS)

build: need-go ## the palier command, into bin/
	@test -x $(BIN)/palier || echo "building palier; the first time takes a minute or two"
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/palier ./functions/palier

# The race detector watches whatever is concurrent in one process. The pure rooms have nothing that is (plays of
# forecast share nothing), and what drives other
# processes, DynamoDB Local, Kinesis, S3, the SAM CLI and our own binaries, is built the way they are, which saves a build.
# The fleets of functions/ want the machine for themselves, so they come last and alone.
PURE    := rollout|resolve|capgo|judge|telemetry|jsontext|seal|edge|forecast
OUTSIDE := store/dynamo|stream/kinesis|blob/s3|cloud|cloudlocal|cost|browser|validation
RACELESS := 'palier/internal/($(PURE)|$(OUTSIDE))(/|$$)|functions/'
PLAIN   := CGO_ENABLED=0 GOFLAGS=-trimpath
# SQLite, which modernc.org translates from C, is most of the instructions, and packing and arithmetic most of the others; the
# races to look for are in our own code that shares something.
CALM    := modernc.org/... github.com/klauspost/compress/... gonum.org/v1/... $(foreach room,judge forecast telemetry,github.com/palier-ota/palier/internal/$(room)/...)
RACE    := -race $(foreach package,$(CALM),-gcflags=$(package)=-race=false)
test: need-go lint edge-fresh ## everything that must hold
	$(PLAIN) $(GO) test -timeout 15m ./internal/aggregate -run DynamoDB
	$(PLAIN) $(GO) test -timeout 15m $$($(GO) list ./... | grep -E $(RACELESS) | grep -v functions/)
	$(GO) test $(RACE) -timeout 15m $$($(GO) list ./... | grep -vE $(RACELESS))
	@mkdir -p $(BIN); $(PLAIN) $(GO) test ./functions/edge $(EDGE_FUZZ) >$(BIN)/edge-fuzz.log 2>&1 & fuzz=$$!; \
		$(PLAIN) $(GO) test -timeout 15m ./functions/...; ended=$$?; \
		if wait $$fuzz; then tail -n 2 $(BIN)/edge-fuzz.log; else cat $(BIN)/edge-fuzz.log; exit 1; fi; exit $$ended

# A minute of differential fuzzing of the module against its native twin, while the tests of functions/ mostly wait.
EDGE_FUZZ := -run '^$$' -fuzz FuzzNativeAgainstWASM -fuzztime 60s -parallel 1

edge-fresh:
	@if infra/edge/tinygo.sh --can; then $(MAKE) edge-check; else echo "the module for edges is tested as it is in the repository"; fi

race: need-go ## everything but the fleets, with the race detector
	$(GO) test $(RACE) -timeout 30m $$($(GO) list ./... | grep -v functions/)

FUZZTIME ?= 60s
FUZZED   := ./internal/jsontext ./internal/capgo ./internal/device ./internal/telemetry ./internal/admin ./internal/resolve ./internal/apigateway ./internal/deadletter ./internal/seal ./internal/relay ./internal/source ./functions/edge
fuzz: need-go ## each decoder against hostile input, FUZZTIME each
	@for pkg in $(FUZZED); do for target in $$($(GO) test $$pkg -list '^Fuzz' | grep '^Fuzz'); do \
		$(GO) test $$pkg -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) || exit 1; done; done

bench: need-go ## speed as ratios against floors measured in the same run
	$(GO) test -run '^$$' -bench . -benchmem ./internal/resolve ./internal/capgo ./internal/device ./internal/judge ./internal/telemetry ./internal/aggregate ./internal/store/sqlite ./internal/stream/sqlite ./internal/fleet ./internal/apigateway ./internal/store/dynamo ./internal/stream/kinesis ./functions/resolve ./functions/edge

lint: need-go ## formatting, vet, static analysis
	@out=$$(gofmt -l functions internal); test -z "$$out" || { echo "not formatted: $$out"; exit 1; }
	$(PLAIN) $(GO) vet ./...
	$(PLAIN) $(GO) run $(STATICCHECK) ./...

FUNCTIONS      := resolve ingest aggregate promote admin relay
FUNCTION_BUILD := CGO_ENABLED=0 $(GO) build -tags lambda.norpc -trimpath -ldflags '$(LDFLAGS)'

functions: need-go ## the Lambda functions for this machine, into bin/functions/
	@for f in $(FUNCTIONS); do $(FUNCTION_BUILD) -o $(BIN)/functions/$$f/bootstrap ./functions/$$f || exit 1; done

# What `sam build` calls for each function of template.yaml, with ARTIFACTS_DIR set: ResolveFunction is functions/resolve.
build-%Function: need-go
	GOOS=linux GOARCH=arm64 $(FUNCTION_BUILD) -o "$(ARTIFACTS_DIR)/bootstrap" ./functions/$(shell echo $* | tr A-Z a-z)

# The module for edges. TinyGo's build ships and is in the repository, so that nobody needs TinyGo to deploy; standard Go's is the
# reference.
EDGE_MODULE := functions/edge/module/edge.wasm
TINYGO      := $(BIN)/tinygo/bin/tinygo
EDGE_BUILD  := build -target infra/edge/edge.json -opt z -no-debug -panic trap

edge: need-go ## the WebAssembly module for edges: by TinyGo, which is installed into bin/tinygo, and by standard Go
	infra/edge/tinygo.sh $(BIN)/tinygo
	$(TINYGO) $(EDGE_BUILD) -o $(EDGE_MODULE) ./functions/edge
	GOOS=wasip1 GOARCH=wasm $(GO) build -trimpath -buildmode=c-shared -ldflags '$(LDFLAGS)' -o $(BIN)/edge-go.wasm ./functions/edge

# Viceroy is not for every machine: it takes half an hour to build. `make test` only compiles the program.
VICEROY ?= viceroy
edge-fastly: need-go ## the edge for Fastly Compute, into bin/, and its tests in Viceroy, Fastly's runtime for this machine
	GOOS=wasip1 GOARCH=wasm $(GO) vet ./functions/edge/fastly
	GOOS=wasip1 GOARCH=wasm $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/fastly.wasm ./functions/edge/fastly
	@command -v '$(VICEROY)' >/dev/null || { echo "the tests need Viceroy: cargo install viceroy --version =0.22.0 --locked, or VICEROY=its path"; exit 1; }
	VICEROY='$(VICEROY)' $(GO) test -tags viceroy -count=1 -timeout 20m -run Fastly ./functions/edge

client: need-go ## the browser client as servers hand it out, from internal/browser/palier.mjs
	$(GO) test ./internal/browser -count=1 -run Served -update

edge-check: need-go ## the module in the repository is what the source gives
	infra/edge/tinygo.sh $(BIN)/tinygo
	$(TINYGO) $(EDGE_BUILD) -o $(BIN)/edge-check.wasm ./functions/edge
	@cmp $(BIN)/edge-check.wasm $(EDGE_MODULE) || { echo "run make edge and commit $(EDGE_MODULE)"; exit 1; }

validate-template: need-go ## template.yaml: the real SAM CLI, and our own walk through it
	$(GO) test -count=1 -v -run 'SAM|Walk' ./internal/cloudlocal/template

RUNS ?= 10000
SEED ?= 1
validate-judge: need-go ## the judge held to its promises, into internal/judge/VALIDATION.md; RUNS=300 for a first impression
	$(GO) run ./internal/validation/validate -runs $(RUNS) -seed $(SEED) -out internal/judge/VALIDATION.md

ENV ?= default
deploy: ## deploy to AWS; ENV=staging for another environment, TOKEN=1 makes the first admin token
	@SAM_CONFIG_ENV=$(ENV) FIRST_TOKEN=$(TOKEN) infra/deploy.sh

teardown: ## remove an environment from AWS, after asking
	@SAM_CONFIG_ENV=$(ENV) infra/teardown.sh

help: ## this list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 20

clean: ## remove what was built and the demo's data
	rm -rf $(BIN) .palier

need-go:
	@command -v $(GO) >/dev/null || { echo "Palier needs Go 1.26 or newer: https://go.dev/dl/"; exit 1; }
