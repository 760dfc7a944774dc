package seal

// Verification of Ed25519 signatures (RFC 8032, 5.1.7) in as few bytes of code as will do: the module for edges has no room
// for crypto/ed25519, which is made for speed and for secrets. Here is no secret, so nothing needs to take the same time
// whatever it works on, and one signature in a while may take a millisecond. Tests hold it against crypto/ed25519.
//
// The arithmetic is that of TweetNaCl (Bernstein and others, "TweetNaCl: a crypto library in 100 tweets", 2014).

// element is a number modulo p = 2²⁵⁵−19, as 16 limbs of 16 bits that may be out of their range for a while.
type element [16]int64

var (
	curveD  = element{0x78a3, 0x1359, 0x4dca, 0x75eb, 0xd8ab, 0x4141, 0x0a4d, 0x0070, 0xe898, 0x7779, 0x4079, 0x8cc7, 0xfe73, 0x2b6f, 0x6cee, 0x5203}
	curve2D = element{0xf159, 0x26b2, 0x9b94, 0xebd6, 0xb156, 0x8283, 0x149a, 0x00e0, 0xd130, 0xeef3, 0x80f2, 0x198e, 0xfce7, 0x56df, 0xd9dc, 0x2406}
	baseX   = element{0xd51a, 0x8f25, 0x2d60, 0xc956, 0xa7b2, 0x9525, 0xc760, 0x692c, 0xdc5c, 0xfdd6, 0xe231, 0xc0a4, 0x53fe, 0xcd6e, 0x36d3, 0x2169}
	baseY   = element{0x6658, 0x6666, 0x6666, 0x6666, 0x6666, 0x6666, 0x6666, 0x6666, 0x6666, 0x6666, 0x6666, 0x6666, 0x6666, 0x6666, 0x6666, 0x6666}
	rootM1  = element{0xa0b0, 0x4a0e, 0x1b27, 0xc4ee, 0xe478, 0xad2f, 0x1806, 0x2f43, 0xd7a7, 0x3dfb, 0x0099, 0x2b4d, 0xdf0b, 0x4fc1, 0x2480, 0x2b83} // √−1

	// order is that of the base point, L = 2²⁵² + 27742317777372353535851937790883648493, little-endian.
	order = [32]byte{0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 31: 0x10}
)

// verify reports whether the key made the signature of the message. It does not allocate.
func verify(key *Key, message []byte, signature *[signatureSize]byte) bool {
	r, s := signature[:32], (*[32]byte)(signature[32:])
	var sum, base point
	if !reduced(s) || !sum.setNegative(key) {
		return false
	}
	var digest [64]byte
	var k [32]byte
	sum512(&digest, r, key[:], message)
	reduce(&k, &digest)
	base.setBase()
	sum.multiplyAdd(&k, &base, s) // −k·A + s·B, which is R if all is well
	var encoded [32]byte
	sum.encode(&encoded)
	return string(encoded[:]) == string(r)
}

// carry brings the limbs back into 16 bits, nearly.
func (o *element) carry() {
	for i := range o {
		o[i] += 1 << 16
		c := o[i]>>16 - 1
		if i < 15 {
			o[i+1] += c
		} else {
			o[0] += 38 * c // 2²⁵⁶ = 38
		}
		o[i] -= (c + 1) << 16
	}
}

func (o *element) add(a, b *element) {
	for i := range o {
		o[i] = a[i] + b[i]
	}
}

func (o *element) subtract(a, b *element) {
	for i := range o {
		o[i] = a[i] - b[i]
	}
}

// multiply sets o to a·b; o may be either.
func (o *element) multiply(a, b *element) {
	var t [31]int64
	for i, x := range a {
		for j, y := range b {
			t[i+j] += x * y
		}
	}
	for i := range 15 {
		t[i] += 38 * t[i+16]
	}
	copy(o[:], t[:16])
	o.carry()
	o.carry()
}

// power sets o to a to the power of the number whose bits up to top are ones, except those of zeros.
func (o *element) power(a *element, top int, zeros uint64) {
	var c element
	copy(c[:], a[:])
	for i := top - 1; i >= 0; i-- {
		c.multiply(&c, &c)
		if i > 63 || zeros>>i&1 == 0 {
			c.multiply(&c, a)
		}
	}
	copy(o[:], c[:])
}

// encode writes the element, in its range, little-endian.
func (o *element) encode(out *[32]byte) {
	var t element
	copy(t[:], o[:])
	t.carry()
	t.carry()
	t.carry()
	for range 2 { // subtract p where it still fits in
		var m element
		m[0] = t[0] - 0xffed
		for i := 1; i < 15; i++ {
			m[i] = t[i] - 0xffff - m[i-1]>>16&1
			m[i-1] &= 0xffff
		}
		m[15] = t[15] - 0x7fff - m[14]>>16&1
		below := m[15]>>16&1 == 1
		m[14] &= 0xffff
		if !below {
			copy(t[:], m[:])
		}
	}
	for i, limb := range t {
		out[2*i], out[2*i+1] = byte(limb), byte(limb>>8)
	}
}

// point is one of the curve, in extended coordinates X, Y, Z, T with x = X/Z, y = Y/Z and xy = T/Z.
type point [4]element

// setBase makes p the base point.
func (p *point) setBase() {
	copy(p[0][:], baseX[:])
	copy(p[1][:], baseY[:])
	clear(p[2][:])
	p[2][0] = 1
	p[3].multiply(&p[0], &p[1])
}

// add adds q, by the formula of RFC 8032, 5.1.4.
func (p *point) add(q *point) {
	var a, b, c, d, t, e, f, g, h element
	a.subtract(&p[1], &p[0])
	t.subtract(&q[1], &q[0])
	a.multiply(&a, &t)
	b.add(&p[0], &p[1])
	t.add(&q[0], &q[1])
	b.multiply(&b, &t)
	c.multiply(&p[3], &q[3])
	c.multiply(&c, &curve2D)
	d.multiply(&p[2], &q[2])
	d.add(&d, &d)
	e.subtract(&b, &a)
	f.subtract(&d, &c)
	g.add(&d, &c)
	h.add(&b, &a)
	p[0].multiply(&e, &f)
	p[1].multiply(&h, &g)
	p[2].multiply(&g, &f)
	p[3].multiply(&e, &h)
}

func (p *point) set(q *point) {
	for i := range p {
		copy(p[i][:], q[i][:])
	}
}

// multiplyAdd sets p to m·p + n·q, both sums in one walk over the bits.
func (p *point) multiplyAdd(m *[32]byte, q *point, n *[32]byte) {
	var addends [3]point // p, q, p+q
	addends[0].set(p)
	addends[1].set(q)
	addends[2].set(p)
	addends[2].add(q)
	for i := range p { // the neutral element
		clear(p[i][:])
	}
	p[1][0], p[2][0] = 1, 1
	for i := 255; i >= 0; i-- {
		p.add(p)
		if which := m[i>>3]>>(i&7)&1 | n[i>>3]>>(i&7)&1<<1; which != 0 {
			p.add(&addends[which-1])
		}
	}
}

// encode writes y, and in the top bit whether x is odd (RFC 8032, 5.1.2).
func (p *point) encode(out *[32]byte) {
	var inverse, x, y element
	inverse.power(&p[2], 254, 1<<4|1<<2) // Z to the power of p−2
	x.multiply(&p[0], &inverse)
	y.multiply(&p[1], &inverse)
	x.encode(out)
	odd := out[0] & 1
	y.encode(out)
	out[31] ^= odd << 7
}

// setNegative makes p the negative of the point that is encoded, and reports whether there is one (RFC 8032, 5.1.3).
func (p *point) setNegative(encoded *Key) bool {
	var num, den, den2, t element
	for i := range p {
		clear(p[i][:])
	}
	p[2][0] = 1
	for i := range p[1] {
		p[1][i] = int64(encoded[2*i]) | int64(encoded[2*i+1])<<8
	}
	p[1][15] &= 0x7fff
	num.multiply(&p[1], &p[1]) // x² = num/den = (y²−1)/(dy²+1)
	den.multiply(&num, &curveD)
	num.subtract(&num, &p[2])
	den.add(&p[2], &den)
	den2.multiply(&den, &den) // x = num·den³·(num·den⁷) to the power of (p−5)/8
	t.multiply(&den2, &den2)
	t.multiply(&t, &den2)
	t.multiply(&t, &num)
	t.multiply(&t, &den)
	t.power(&t, 251, 1<<1)
	t.multiply(&t, &num)
	t.multiply(&t, &den)
	t.multiply(&t, &den)
	p[0].multiply(&t, &den)
	if !p.root(&num, &den) {
		return false
	}
	var x [32]byte
	if p[0].encode(&x); x[0]&1 == encoded[31]>>7 {
		clear(t[:])
		p[0].subtract(&t, &p[0])
	}
	p[3].multiply(&p[0], &p[1])
	return true
}

// root makes sure that x² = num/den, if need be after multiplying x by √−1, and reports whether it is.
func (p *point) root(num, den *element) bool {
	var t element
	var have, want [32]byte
	num.encode(&want)
	for try := range 2 {
		if try == 1 {
			p[0].multiply(&p[0], &rootM1)
		}
		t.multiply(&p[0], &p[0])
		t.multiply(&t, den)
		if t.encode(&have); string(have[:]) == string(want[:]) {
			return true
		}
	}
	return false
}

// reduce sets out to the number in the digest modulo order, both little-endian.
func reduce(out *[32]byte, digest *[64]byte) {
	var x [64]int64
	for i, v := range digest {
		x[i] = int64(v)
	}
	for i := 63; i >= 32; i-- {
		carry := int64(0)
		j := i - 32
		for ; j < i-12; j++ {
			x[j] += carry - 16*x[i]*int64(order[j-(i-32)])
			carry = (x[j] + 128) >> 8
			x[j] -= carry << 8
		}
		x[j] += carry
		x[i] = 0
	}
	carry := int64(0)
	for j := range 32 {
		x[j] += carry - x[31]>>4*int64(order[j])
		carry = x[j] >> 8
		x[j] &= 255
	}
	for j := range 32 {
		x[j] -= carry * int64(order[j])
	}
	for i := range 32 {
		x[i+1] += x[i] >> 8
		out[i] = byte(x[i])
	}
}

// reduced reports whether a number is below order. Signatures with another one are refused, so that there is only one for
// a message.
func reduced(s *[32]byte) bool {
	for i := 31; i >= 0; i-- {
		if s[i] != order[i] {
			return s[i] < order[i]
		}
	}
	return false
}
