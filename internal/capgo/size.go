package capgo

import (
	"strconv"

	"github.com/palier-ota/palier/internal/jsontext"
	"github.com/palier-ota/palier/internal/rollout"
)

// ParseManifestSize reads the body of POST /updates/manifest_size: the fields of an update check, into r.Check, and the
// manifest entries whose sizes are asked for. Entries without a hash cannot be looked up and are left out, and so are
// repeated ones. The strings of the entries live as long as those of r.Check.
func (r *Request) ParseManifestSize(body []byte) ([]rollout.ManifestFile, *Refusal) {
	if refusal := r.ParseCheck(body); refusal != nil {
		return nil, refusal
	}
	o := &r.object
	if !o.others.has(fManifest) || o.text[fManifest][0] != '[' {
		return nil, o.badField(fManifest, "must be an array")
	}
	return o.manifest(raw(o.text[fManifest]))
}

// manifest reads an array that the scanner has accepted already. It overwrites the members of o, but not their text.
func (o *object) manifest(b []byte) ([]rollout.ManifestFile, *Refusal) {
	var files []rollout.ManifestFile
	seen := map[rollout.ManifestFile]bool{}
	entries := 0
	for i := jsontext.Space(b, 1); b[i] != ']'; entries++ {
		if entries == MaxManifest {
			return nil, o.badField(fManifest, "must have at most 5000 entries")
		}
		if b[i] != '{' {
			return nil, o.badField(fManifest, "must be an array of objects")
		}
		i = jsontext.Space(b, o.read(b, i, 1))
		file := rollout.ManifestFile{FileName: o.get(fFileName), FileHash: o.get(fFileHash), DownloadURL: o.get(fDownloadURL)}
		if file.FileHash != "" && !seen[file] {
			seen[file] = true
			files = append(files, file)
		}
		if b[i] == ',' {
			i = jsontext.Space(b, i+1)
		}
	}
	return files, nil
}

// AppendManifestSizes appends the answer to a manifest_size request. size returns how many bytes a download of the file
// takes, or false when that is not known; nil knows nothing.
func AppendManifestSizes(dst []byte, files []rollout.ManifestFile, size func(hash, url string) (int64, bool)) []byte {
	var total int64
	known := 0
	list := make([]byte, 0, 64+256*len(files))
	for i, f := range files {
		if i > 0 {
			list = append(list, ',')
		}
		list = append(list, '{')
		list = appendAsked(list, f)
		n, ok := int64(0), false
		if size != nil {
			n, ok = size(f.FileHash, f.DownloadURL)
		}
		if ok {
			known, total = known+1, total+n
			list = strconv.AppendInt(append(list, `,"size":`...), n, 10)
		} else {
			list = append(list, `,"error":"size_unknown"`...)
		}
		list = append(list, '}')
	}
	dst = strconv.AppendInt(append(dst, `{"totalSize":`...), total, 10)
	dst = strconv.AppendInt(append(dst, `,"knownFiles":`...), int64(known), 10)
	dst = strconv.AppendInt(append(dst, `,"unknownFiles":`...), int64(len(files)-known), 10)
	dst = append(dst, `,"files":[`...)
	dst = append(dst, list...)
	return append(dst, ']', '}')
}

// appendAsked appends the members of an entry as it was asked for: what it did not say is null.
func appendAsked(dst []byte, f rollout.ManifestFile) []byte {
	dst = append(appendTextOrNull(dst, "file_name", f.FileName), ',')
	dst = append(appendMember(dst, "file_hash", f.FileHash), ',')
	return appendTextOrNull(dst, "download_url", f.DownloadURL)
}

func appendTextOrNull(dst []byte, key, value string) []byte {
	if value != "" {
		return appendMember(dst, key, value)
	}
	return append(append(append(dst, '"'), key...), `":null`...)
}

// appendFile appends the members of one manifest entry.
func appendFile(dst []byte, f rollout.ManifestFile) []byte {
	dst = appendMember(dst, "file_name", f.FileName)
	dst = append(dst, ',')
	dst = appendMember(dst, "file_hash", f.FileHash)
	dst = append(dst, ',')
	return appendMember(dst, "download_url", f.DownloadURL)
}
