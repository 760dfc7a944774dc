package seal

import (
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/hex"
	"testing"

	"pgregory.net/rapid"
)

func TestSum512IsSHA512(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 300), 0, 4).Draw(t, "parts")
		var whole []byte
		for _, p := range parts {
			whole = append(whole, p...)
		}
		var sum [64]byte
		if sum512(&sum, parts...); sum != sha512.Sum512(whole) {
			t.Fatalf("%x: %x", whole, sum)
		}
	})
}

// The test vectors of RFC 8032, 7.1.
func TestVerifiesTheRFCsSignatures(t *testing.T) {
	for _, v := range [][3]string{
		{
			"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
			"e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
		},
		{
			"3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
			"92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
		},
		{
			"fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
			"6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
		},
	} {
		key, message, signature := Key(fromHex(t, v[0])), fromHex(t, v[1]), [64]byte(fromHex(t, v[2]))
		if !verify(&key, message, &signature) {
			t.Errorf("%s: refused", v[0])
		}
	}
}

func fromHex(t *testing.T, text string) []byte {
	t.Helper()
	raw, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// strange are encodings of points and numbers that implementations have been found to differ on: points of small order, in
// their own and in other encodings, p itself, numbers beyond p and beyond the group's order.
var strange = []string{
	"0100000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000080",
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0000000000000000000000000000000000000000000000000000000000000080",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
	"edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010",
	"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
}

// Whatever is put in the place of key and signature, the answer is that of crypto/ed25519.
func TestStrangePointsAreJudgedAsByTheStandardLibrary(t *testing.T) {
	accepted := 0
	for _, a := range strange {
		for _, r := range strange {
			for _, s := range []string{strange[0], strange[2], strange[14], strange[15]} {
				key, signature := Key(fromHex(t, a)), [64]byte(append(fromHex(t, r), fromHex(t, s)...))
				for _, message := range []string{"palier"} {
					want := ed25519.Verify(key[:], []byte(message), signature[:])
					if got := verify(&key, []byte(message), &signature); got != want {
						t.Fatalf("key %s, R %s, S %s, message %q: %v, want %v", a, r, s, message, got, want)
					}
					if want {
						accepted++
					}
				}
			}
		}
	}
	if accepted == 0 {
		t.Error("none was accepted, so nothing was compared but refusals")
	}
}

func TestVerifiesAsTheStandardLibraryDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "seed")
		message := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "message")
		private := ed25519.NewKeyFromSeed(seed)
		key, signature := PublicKey(private), [64]byte(ed25519.Sign(private, message))
		if !verify(&key, message, &signature) {
			t.Fatal("a good signature was refused")
		}
		for _, spoilt := range [][]byte{key[:], signature[:32], signature[32:]} {
			at, bit := rapid.IntRange(0, len(spoilt)-1).Draw(t, "at"), byte(1)<<rapid.IntRange(0, 7).Draw(t, "bit")
			spoilt[at] ^= bit
			if got, want := verify(&key, message, &signature), ed25519.Verify(key[:], message, signature[:]); got != want {
				t.Fatalf("key %x, signature %x: %v, want %v", key, signature, got, want)
			}
			spoilt[at] ^= bit
		}
	})
}

func FuzzVerify(f *testing.F) {
	private := ed25519.NewKeyFromSeed(make([]byte, 32))
	f.Add([]byte(private[32:]), ed25519.Sign(private, []byte("m")), []byte("m"))
	f.Fuzz(func(t *testing.T, key, signature, message []byte) {
		if len(key) != 32 || len(signature) != 64 {
			return
		}
		k := Key(key)
		if got, want := verify(&k, message, (*[64]byte)(signature)), ed25519.Verify(key, message, signature); got != want {
			t.Errorf("%v, want %v", got, want)
		}
	})
}
