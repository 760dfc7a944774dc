package dir

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/palier-ota/palier/internal/blob"
)

// What a file begins with: headMark, the digest in hex, a space and the content type, filled up with spaces to headBytes
// of which the last is a line feed.
const (
	headMark  = "palier-object-1 "
	headBytes = 256
)

// What is wrong with content that was announced otherwise.
var (
	errSize   = errors.New("the content has another size than was announced")
	errDigest = errors.New("the content has another SHA-256 than was announced")
)

// head is what a file says of its object.
type head struct {
	digest      [sha256.Size]byte
	contentType string
}

func (h head) bytes() []byte {
	return fmt.Appendf(nil, "%-*s\n", headBytes-1, headMark+hex.EncodeToString(h.digest[:])+" "+h.contentType)
}

// parseHead reads what bytes wrote.
func parseHead(b []byte) (head, error) {
	rest, marked := strings.CutPrefix(string(b), headMark)
	digest, contentType, spaced := strings.Cut(rest, " ")
	sum, err := hex.DecodeString(digest)
	if !marked || !spaced || err != nil || len(sum) != sha256.Size {
		return head{}, fmt.Errorf("%w: the file is damaged: it does not begin as an object does", blob.ErrUnavailable)
	}
	return head{digest: [sha256.Size]byte(sum), contentType: strings.TrimRight(contentType, " \n")}, nil
}

// object is an open object. It stays what it is when the object is replaced or deleted meanwhile.
type object struct {
	head
	*os.File
	size     int64
	modified time.Time
}

// content returns the object's own bytes.
func (o *object) content() *io.SectionReader { return io.NewSectionReader(o.File, headBytes, o.size) }

// openObject opens the object of a checked key, or fails with blob.ErrNotFound or blob.ErrUnavailable.
func (s *Store) openObject(key string) (*object, error) {
	file, err := s.root.Open(fileName(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", blob.ErrNotFound, key)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", blob.ErrUnavailable, err)
	}
	o := &object{File: file}
	if err := o.describe(); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return o, nil
}

// describe fills in what the file says of itself.
func (o *object) describe() error {
	info, err := o.Stat()
	if err != nil {
		return fmt.Errorf("%w: %w", blob.ErrUnavailable, err)
	}
	first := make([]byte, headBytes)
	if _, err := io.ReadFull(o.File, first); err != nil {
		return fmt.Errorf("%w: the file is damaged: %w", blob.ErrUnavailable, err)
	}
	o.size, o.modified = info.Size()-headBytes, info.ModTime()
	o.head, err = parseHead(first)
	return err
}

// write stores an object of so many bytes. It fails with errSize or errDigest when the content is not what was
// announced, and then changes nothing.
func (s *Store) write(key string, h head, size int64, content io.Reader) error {
	temp := path.Join(incoming, strconv.FormatInt(s.temps.Add(1), 10))
	err := s.receive(temp, h, size, content)
	if err == nil {
		err = s.publish(temp, fileName(key))
	}
	if err != nil {
		s.root.Remove(temp) // what stays is removed by the next New
	}
	return err
}

// receive writes a file and forces it to disk.
func (s *Store) receive(name string, h head, size int64, content io.Reader) error {
	file, err := s.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("%w: %w", blob.ErrUnavailable, err)
	}
	err = fill(file, h, size, content)
	if closing := file.Close(); err == nil && closing != nil {
		err = fmt.Errorf("%w: %w", blob.ErrUnavailable, closing)
	}
	return err
}

func fill(file *os.File, h head, size int64, content io.Reader) error {
	if _, err := file.Write(h.bytes()); err != nil {
		return fmt.Errorf("%w: %w", blob.ErrUnavailable, err)
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(file, sum), io.LimitReader(content, size+1))
	switch {
	case n > size || errors.Is(err, io.ErrUnexpectedEOF) || err == nil && n < size:
		return fmt.Errorf("%w: %d bytes", errSize, n)
	case err != nil:
		return fmt.Errorf("%w: %w", blob.ErrUnavailable, err)
	case [sha256.Size]byte(sum.Sum(nil)) != h.digest:
		return errDigest
	}
	if err := file.Sync(); err != nil {
		return fmt.Errorf("%w: %w", blob.ErrUnavailable, err)
	}
	return nil
}

// publish puts a finished file in its place. The folders above are forced to disk up to the root, whoever made them: an
// object is durable only if its folders are.
func (s *Store) publish(temp, name string) error {
	folder := path.Dir(name)
	err := s.root.MkdirAll(folder, 0o700)
	if err == nil {
		err = s.root.Rename(temp, name)
	}
	for err == nil {
		err = s.syncFolder(folder)
		if folder == "." {
			break
		}
		folder = path.Dir(folder)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", blob.ErrUnavailable, err)
	}
	return nil
}

func (s *Store) syncFolder(name string) error {
	folder, err := s.root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
