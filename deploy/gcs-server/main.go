// gcs-server is the Google Cloud Storage stand-in of the integration tests.
//
// It owns the part of the XML API that the Rust `object_store` crate speaks: PUT with
// `x-goog-if-generation-match`, copy, multipart uploads, paged listings. Objects, generations and the
// atomic check of a precondition belong to fake-gcs-server, which is embedded here: on its own it answers
// an XML PUT with 400 "invalid uploadType" and never reads the precondition header (v1.55.1 and v1.56.1).
// Every other request, the JSON API among them, goes through to it untouched.
//
// Deliberately absent: authentication, TLS, versioned buckets.
package main

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"flag"
	"fmt"
	"io"
	"log"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fsouza/fake-gcs-server/fakestorage"
)

const (
	generationMatchHeader = "X-Goog-If-Generation-Match"
	generationHeader      = "X-Goog-Generation"
	copySourceHeader      = "X-Goog-Copy-Source"
	listPageMax           = 1000
	// The service itself accepts larger single PUTs; a test that sends one is a mistake worth seeing.
	bodyBytesMax = 1 << 30
)

type server struct {
	fake    *fakestorage.Server
	mutex   sync.Mutex
	uploads map[string]*upload
}

// upload is a multipart upload that has been started and neither completed nor aborted.
type upload struct {
	bucket, object, contentType string
	parts                       map[int][]byte
}

func main() {
	address := flag.String("address", "127.0.0.1:29093", "host:port to listen on")
	root := flag.String("root", "", "folder that holds the buckets")
	bucket := flag.String("bucket", "", "bucket to create at start")
	flag.Parse()
	if *root == "" || *bucket == "" {
		log.Fatal("gcs-server: -root and -bucket are required")
	}
	fake, err := fakestorage.NewServerWithOptions(fakestorage.Options{
		NoListener:  true,
		StorageRoot: *root,
		PublicHost:  *address,
		ExternalURL: "http://" + *address,
	})
	if err != nil {
		log.Fatalf("gcs-server: %v", err)
	}
	fake.CreateBucketWithOpts(fakestorage.CreateBucketOpts{Name: *bucket})
	s := &server{fake: fake, uploads: map[string]*upload{}}
	log.Printf("gcs-server: serving bucket %s on http://%s", *bucket, *address)
	log.Fatal(http.ListenAndServe(*address, s))
}

// isJSONAPI tells the paths of the JSON API from those of the XML API, which are /bucket/object.
func isJSONAPI(path string) bool {
	for _, prefix := range []string{"/storage/v1/", "/upload/", "/download/", "/batch/", "/_internal/"} {
		if strings.HasPrefix(path, prefix) {
			return true
		}
	}
	return false
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if isJSONAPI(r.URL.Path) {
		s.fake.HTTPHandler().ServeHTTP(w, r)
		return
	}
	// Path is decoded already: "/bucket/a/b c" whatever the client escaped.
	bucket, object, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	query := r.URL.Query()
	switch {
	case object == "" && r.Method == http.MethodGet:
		s.list(w, bucket, query)
	case object == "":
		fail(w, http.StatusMethodNotAllowed, "MethodNotAllowed", r.Method+" on a bucket")
	case r.Method == http.MethodPost && query.Has("uploads"):
		s.startUpload(w, bucket, object, r.Header.Get("Content-Type"))
	case query.Has("uploadId"):
		s.continueUpload(w, r, query)
	case r.Method == http.MethodPut && r.Header.Get(copySourceHeader) != "":
		s.copy(w, r, bucket, object)
	case r.Method == http.MethodPut:
		body, err := readBody(r)
		if err != nil {
			fail(w, http.StatusBadRequest, "IncompleteBody", err.Error())
			return
		}
		s.answerPut(w, s.put(bucket, object, r.Header.Get("Content-Type"), r.Header.Get(generationMatchHeader), body))
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		s.forward(w, r, "/download/storage/v1/b/"+url.PathEscape(bucket)+"/o/"+url.PathEscape(object))
	case r.Method == http.MethodDelete:
		s.forward(w, r, "/storage/v1/b/"+url.PathEscape(bucket)+"/o/"+url.PathEscape(object))
	default:
		fail(w, http.StatusMethodNotAllowed, "MethodNotAllowed", r.Method)
	}
}

func readBody(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, bodyBytesMax+1))
	if err == nil && len(body) > bodyBytesMax {
		err = fmt.Errorf("body is larger than %d bytes", bodyBytesMax)
	}
	return body, err
}

func fail(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/xml; charset=UTF-8")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<?xml version='1.0' encoding='UTF-8'?><Error><Code>%s</Code><Message>", code)
	_ = xml.EscapeText(w, []byte(message))
	_, _ = io.WriteString(w, "</Message></Error>")
}

// forward hands a request to the embedded server under its JSON API path.
func (s *server) forward(w http.ResponseWriter, r *http.Request, escapedPath string) {
	inner := r.Clone(r.Context())
	// A path that escapes itself cannot fail to parse; Path and RawPath must agree for the router.
	inner.URL.Path, _ = url.PathUnescape(escapedPath)
	inner.URL.RawPath = escapedPath
	inner.RequestURI = ""
	s.fake.HTTPHandler().ServeHTTP(w, inner)
}

// putResult is the answer of the embedded server to an upload.
type putResult struct {
	status     int
	message    string
	ETag       string `json:"etag"`
	Generation string `json:"generation"`
}

// put writes an object through the embedded server's multipart upload, the one upload that carries the
// precondition down to the place where it is checked under the lock that also guards the write.
func (s *server) put(bucket, object, contentType, generationMatch string, content []byte) putResult {
	if contentType == "" {
		contentType = "application/octet-stream"
	}
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	metadata, err := form.CreatePart(textproto.MIMEHeader{"Content-Type": {"application/json; charset=UTF-8"}})
	if err == nil {
		err = json.NewEncoder(metadata).Encode(map[string]string{"name": object, "contentType": contentType})
	}
	if err != nil {
		return putResult{status: http.StatusInternalServerError, message: err.Error()}
	}
	media, err := form.CreatePart(textproto.MIMEHeader{"Content-Type": {contentType}})
	if err == nil {
		_, err = media.Write(content)
	}
	if err == nil {
		err = form.Close()
	}
	if err != nil {
		return putResult{status: http.StatusInternalServerError, message: err.Error()}
	}
	query := url.Values{"uploadType": {"multipart"}, "name": {object}}
	if generationMatch != "" {
		query.Set("ifGenerationMatch", generationMatch)
	}
	inner := httptest.NewRequest(http.MethodPost,
		"/upload/storage/v1/b/"+url.PathEscape(bucket)+"/o?"+query.Encode(), &body)
	inner.Header.Set("Content-Type", "multipart/related; boundary="+form.Boundary())
	recorder := httptest.NewRecorder()
	s.fake.HTTPHandler().ServeHTTP(recorder, inner)
	result := putResult{status: recorder.Code}
	if result.status != http.StatusOK {
		result.message = recorder.Body.String()
	} else if err := json.Unmarshal(recorder.Body.Bytes(), &result); err != nil {
		return putResult{status: http.StatusInternalServerError, message: err.Error()}
	}
	return result
}

func (s *server) answerPut(w http.ResponseWriter, result putResult) bool {
	if result.status == http.StatusPreconditionFailed {
		fail(w, result.status, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold.")
		return false
	}
	if result.status != http.StatusOK {
		fail(w, result.status, http.StatusText(result.status), result.message)
		return false
	}
	w.Header().Set("ETag", strconv.Quote(result.ETag))
	w.Header().Set(generationHeader, result.Generation)
	return true
}

func (s *server) copy(w http.ResponseWriter, r *http.Request, bucket, object string) {
	source, err := url.PathUnescape(strings.TrimPrefix(r.Header.Get(copySourceHeader), "/"))
	if err != nil {
		fail(w, http.StatusBadRequest, "InvalidArgument", err.Error())
		return
	}
	sourceBucket, sourceObject, _ := strings.Cut(source, "/")
	found, err := s.fake.GetObject(sourceBucket, sourceObject)
	if err != nil {
		fail(w, http.StatusNotFound, "NoSuchKey", "no object "+source)
		return
	}
	result := s.put(bucket, object, found.ContentType, r.Header.Get(generationMatchHeader), found.Content)
	if s.answerPut(w, result) {
		fmt.Fprintf(w, "<CopyObjectResult><ETag>&quot;%s&quot;</ETag><LastModified>%s</LastModified></CopyObjectResult>",
			result.ETag, time.Now().UTC().Format(time.RFC3339Nano))
	}
}

func (s *server) startUpload(w http.ResponseWriter, bucket, object, contentType string) {
	random := make([]byte, 16)
	_, _ = rand.Read(random)
	id := hex.EncodeToString(random)
	s.mutex.Lock()
	s.uploads[id] = &upload{bucket: bucket, object: object, contentType: contentType, parts: map[int][]byte{}}
	s.mutex.Unlock()
	answerXML(w, struct {
		XMLName  xml.Name `xml:"InitiateMultipartUploadResult"`
		Bucket   string
		Key      string
		UploadId string
	}{Bucket: bucket, Key: object, UploadId: id})
}

func (s *server) continueUpload(w http.ResponseWriter, r *http.Request, query url.Values) {
	id := query.Get("uploadId")
	s.mutex.Lock()
	started := s.uploads[id]
	s.mutex.Unlock()
	if started == nil {
		fail(w, http.StatusNotFound, "NoSuchUpload", "no upload "+id)
		return
	}
	body, err := readBody(r)
	if err != nil {
		fail(w, http.StatusBadRequest, "IncompleteBody", err.Error())
		return
	}
	switch r.Method {
	case http.MethodPut:
		number, err := strconv.Atoi(query.Get("partNumber"))
		if err != nil || number < 1 {
			fail(w, http.StatusBadRequest, "InvalidArgument", "partNumber must be 1 or more")
			return
		}
		s.mutex.Lock()
		started.parts[number] = body
		s.mutex.Unlock()
		w.Header().Set("ETag", fmt.Sprintf("\"part-%d-%d\"", number, len(body)))
	case http.MethodPost:
		s.completeUpload(w, r, id, started, body)
	case http.MethodDelete:
		s.forget(id)
		w.WriteHeader(http.StatusNoContent)
	default:
		fail(w, http.StatusMethodNotAllowed, "MethodNotAllowed", r.Method)
	}
}

func (s *server) forget(id string) {
	s.mutex.Lock()
	delete(s.uploads, id)
	s.mutex.Unlock()
}

func (s *server) completeUpload(w http.ResponseWriter, r *http.Request, id string, started *upload, body []byte) {
	var wanted struct {
		Part []struct{ PartNumber int }
	}
	if err := xml.Unmarshal(body, &wanted); err != nil {
		fail(w, http.StatusBadRequest, "MalformedXML", err.Error())
		return
	}
	var content []byte
	for _, part := range wanted.Part {
		s.mutex.Lock()
		bytes, found := started.parts[part.PartNumber]
		s.mutex.Unlock()
		if !found {
			fail(w, http.StatusBadRequest, "InvalidPart", fmt.Sprintf("part %d was never uploaded", part.PartNumber))
			return
		}
		content = append(content, bytes...)
	}
	result := s.put(started.bucket, started.object, started.contentType, r.Header.Get(generationMatchHeader), content)
	if !s.answerPut(w, result) {
		return
	}
	s.forget(id)
	answerXML(w, struct {
		XMLName xml.Name `xml:"CompleteMultipartUploadResult"`
		Bucket  string
		Key     string
		ETag    string
	}{Bucket: started.bucket, Key: started.object, ETag: strconv.Quote(result.ETag)})
}

type listEntry struct {
	XMLName      xml.Name `xml:"Contents"`
	Key          string
	Generation   int64
	LastModified string
	ETag         string
	Size         int64
}

type listPrefix struct {
	Prefix string
}

type listResult struct {
	XMLName               xml.Name `xml:"ListBucketResult"`
	Name                  string
	Prefix                string
	IsTruncated           bool
	NextContinuationToken string `xml:",omitempty"`
	KeyCount              int
	Contents              []listEntry
	CommonPrefixes        []listPrefix
}

// list answers list-type=2: keys and common prefixes in one order, strictly after the given start.
func (s *server) list(w http.ResponseWriter, bucket string, query url.Values) {
	found, err := s.fake.ListObjectsWithOptionsPaginated(bucket, fakestorage.ListOptions{
		Prefix: query.Get("prefix"), Delimiter: query.Get("delimiter"),
	})
	if err != nil {
		fail(w, http.StatusNotFound, "NoSuchBucket", err.Error())
		return
	}
	after := query.Get("start-after")
	if token := query.Get("continuation-token"); token != "" {
		after = token
	}
	pageMax := listPageMax
	if value := query.Get("max-keys"); value != "" {
		if pageMax, err = strconv.Atoi(value); err != nil || pageMax < 1 || pageMax > listPageMax {
			pageMax = listPageMax
		}
	}
	objects := map[string]fakestorage.ObjectAttrs{}
	var names []string
	for _, object := range found.Objects {
		objects[object.Name] = object
		names = append(names, object.Name)
	}
	names = append(names, found.Prefixes...)
	sort.Strings(names)
	names = names[sort.Search(len(names), func(i int) bool { return names[i] > after }):]
	result := listResult{Name: bucket, Prefix: query.Get("prefix"), IsTruncated: len(names) > pageMax}
	if result.IsTruncated {
		names = names[:pageMax]
		result.NextContinuationToken = names[pageMax-1]
	}
	result.KeyCount = len(names)
	for _, name := range names {
		object, isObject := objects[name]
		if !isObject {
			result.CommonPrefixes = append(result.CommonPrefixes, listPrefix{name})
			continue
		}
		result.Contents = append(result.Contents, listEntry{
			Key: name, Generation: object.Generation, Size: object.Size, ETag: strconv.Quote(object.Etag),
			LastModified: object.Updated.UTC().Format(time.RFC3339Nano),
		})
	}
	answerXML(w, result)
}

func answerXML(w http.ResponseWriter, value any) {
	body, err := xml.Marshal(value)
	if err != nil {
		fail(w, http.StatusInternalServerError, "InternalError", err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/xml; charset=UTF-8")
	_, _ = w.Write(append([]byte(xml.Header), body...))
}
