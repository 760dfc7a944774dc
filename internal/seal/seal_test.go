package seal_test

import (
	"bytes"
	"crypto/ed25519"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/palier-ota/palier/internal/seal"
)

var (
	ours   = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	theirs = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, ed25519.SeedSize))
)

func TestReadsWhatWasSigned(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		natural := rapid.Int64Range(0, 1e18-1)
		want := seal.Header{
			App:      rapid.StringMatching(`[a-z0-9]{1,20}(\.[\w-]{1,20}){1,4}`).Draw(t, "app"),
			Revision: natural.Draw(t, "revision"), Issued: natural.Draw(t, "issued"), Expires: natural.Draw(t, "expires"),
		}
		spec := rapid.SliceOf(rapid.Byte()).Draw(t, "spec")
		sealed := seal.Sign(ours, want, spec)
		got, text, ok := seal.Read(sealed)
		if !ok || got != want || !bytes.Equal(text, spec) {
			t.Fatalf("%+v %q %v of %q", got, text, ok, sealed)
		}
		if !seal.Verify(sealed, []seal.Key{seal.PublicKey(theirs), seal.PublicKey(ours)}) {
			t.Fatal("not verified with one of two keys")
		}
		if seal.Verify(sealed, []seal.Key{seal.PublicKey(theirs)}) || seal.Verify(sealed, nil) {
			t.Fatal("verified without the key")
		}
	})
}

// Whatever one byte of it is changed to, it is not verified; nor is a part of it.
func TestEveryByteIsSigned(t *testing.T) {
	keys := []seal.Key{seal.PublicKey(ours)}
	sealed := seal.Sign(ours, seal.Header{App: "com.example.shop", Revision: 42, Issued: 1795392000, Expires: 1795478400}, []byte(`{"app":"com.example.shop"}`))
	for i := range sealed {
		for _, flip := range []byte{1, 0x20, 0x80} {
			changed := slices.Clone(sealed)
			changed[i] ^= flip
			if seal.Verify(changed, keys) {
				t.Errorf("verified with byte %d changed to %q", i, changed[i])
			}
		}
		if seal.Verify(sealed[:i], keys) {
			t.Errorf("the first %d bytes verified", i)
		}
	}
}

func TestRefusesWhatIsNoSealedSnapshot(t *testing.T) {
	signature := strings.Repeat("a", 128)
	for _, text := range []string{
		"", "\n", signature, signature + "\n", "A\npalier-snapshot 1 a.b 1 2 3\n{}",
		signature + "\npalier-snapshot 1 a.b 1 2 3",
		signature + "\npalier-snapshot 2 a.b 1 2 3\n{}",
		signature + "\npalier-snapshot 1  1 2 3\n{}",
		signature + "\npalier-snapshot 1 a.b 1 2\n{}",
		signature + "\npalier-snapshot 1 a.b 1 2 3 4\n{}",
		signature + "\npalier-snapshot 1 a.b 1 2 3 \n{}",
		signature + "\npalier-snapshot 1 a.b 01 2 3\n{}",
		signature + "\npalier-snapshot 1 a.b -1 2 3\n{}",
		signature + "\npalier-snapshot 1 a.b 1 2 1000000000000000000\n{}",
		signature + "\npalier-snapshot 1 a.b 1 2 x\n{}",
		signature + "\npalier-snapshot 1 " + strings.Repeat("a", 2000) + ".b 1 2 3\n{}",
	} {
		if h, _, ok := seal.Read([]byte(text)); ok {
			t.Errorf("%q was read as %+v", text, h)
		}
	}
	if _, _, ok := seal.Read(make([]byte, seal.MaxBytes+1)); ok {
		t.Error("one beyond MaxBytes was read")
	}
}

func TestKeysAreWrittenAndRead(t *testing.T) {
	key := seal.PublicKey(ours)
	if got, ok := seal.ParseKey(key.String()); !ok || got != key {
		t.Errorf("%s was read as %s", key, got)
	}
	for _, text := range []string{"", "AAAA", key.String()[1:], key.String() + "A", strings.Repeat("!", 44), strings.Repeat("A", 44)} {
		if _, ok := seal.ParseKey(text); ok {
			t.Errorf("%q was taken for a key", text)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(seal.Sign(ours, seal.Header{App: "com.example.shop", Revision: 42, Issued: 1, Expires: 2}, []byte("{}")))
	f.Fuzz(func(t *testing.T, sealed []byte) {
		h, spec, ok := seal.Read(sealed)
		if !ok {
			return
		}
		again := seal.Sign(ours, h, spec)
		if !bytes.Equal(again[129:], sealed[129:]) {
			t.Errorf("%q is another writing of %q", sealed, again)
		}
	})
}
