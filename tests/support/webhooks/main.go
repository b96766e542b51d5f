// Webhooks posts signed webhooks to an ingress as WhatsApp does: on many connections, again until it hears 200.
//
//	webhooks -url URL -secret SECRET -requests 10000 [-updates 1] [-connections 32] [-forged 1000] [-malformed 1000]
//
// Update i has the id "wamid.load-i". Forged calls carry updates with ids "wamid.forged-…" that nobody authentic signed;
// malformed ones are no HTTP, or not sent as announced. One line of JSON on stdout says how everything was answered.
package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	number     = "200000000000001"
	retryAfter = 200 * time.Millisecond
	giveUp     = 5 * time.Minute
	timeout    = 20 * time.Second
)

var (
	target      = flag.String("url", "", "address of the ingress' path")
	secret      = flag.String("secret", "", "app secret")
	requests    = flag.Int("requests", 1000, "authentic webhooks")
	updates     = flag.Int("updates", 1, "status updates in each")
	connections = flag.Int("connections", 32, "connections at once")
	forged      = flag.Int("forged", 0, "calls that nobody authentic signed, between the others")
	malformed   = flag.Int("malformed", 0, "calls that are no HTTP or not sent as announced, between the others")
	seconds     = flag.Float64("seconds", 0, "post for so long, however many that are; 0: until all are taken")
)

type result struct {
	mutex     sync.Mutex
	tookMs    []float64
	authentic map[string]int
	forged    map[string]int
	malformed map[string]int
}

func (r *result) note(answers map[string]int, answer string, tookMs float64) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	answers[answer]++
	if tookMs >= 0 {
		r.tookMs = append(r.tookMs, tookMs)
	}
}

func body(prefix string, first int, count int) []byte {
	var list strings.Builder
	for index := 0; index < count; index++ {
		if index > 0 {
			list.WriteByte(',')
		}
		fmt.Fprintf(&list, `{"id":"wamid.%s-%d","status":"delivered","timestamp":"1795300004","recipient_id":"1555%07d"}`,
			prefix, first+index, (first+index)%10_000_000)
	}
	return []byte(`{"object":"whatsapp_business_account","entry":[{"id":"300000000000001","changes":[{"field":"messages",` +
		`"value":{"messaging_product":"whatsapp","metadata":{"display_phone_number":"15550100001","phone_number_id":"` +
		number + `"},"statuses":[` + list.String() + `]}}]}]}`)
}

func sign(raw []byte, key string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(raw)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

func post(client *http.Client, raw []byte, headers map[string]string) string {
	request, err := http.NewRequest(http.MethodPost, *target, bytes.NewReader(raw))
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	answer, err := client.Do(request)
	if err != nil {
		return "no answer"
	}
	io.Copy(io.Discard, answer.Body)
	answer.Body.Close()
	return fmt.Sprint(answer.StatusCode)
}

// forge posts call i without the secret: six ways to try.
func forge(client *http.Client, i int) string {
	raw := body("forged", i, 1)
	switch i % 6 {
	case 0:
		return post(client, raw, map[string]string{"X-Hub-Signature-256": sign(raw, "another secret")})
	case 1:
		return post(client, raw, nil)
	case 2:
		return post(client, raw, map[string]string{"X-Hub-Signature-256": sign(body("load", i, 1), *secret)})
	case 3:
		return post(client, raw, map[string]string{"X-Hub-Signature-256": strings.ToUpper(sign(raw, *secret))})
	case 4:
		return post(client, raw, map[string]string{"X-Hub-Signature-256": sign(raw, "")})
	default:
		return post(client, raw, map[string]string{"X-Hub-Signature-256": "sha256=" + strings.Repeat("0", 64)})
	}
}

// mangle writes call i as bytes that are no good call: five ways to go wrong. The answer may be none.
func mangle(host string, i int) string {
	connection, err := net.DialTimeout("tcp", host, timeout)
	if err != nil {
		return "no connection"
	}
	defer connection.Close()
	connection.SetDeadline(time.Now().Add(timeout))
	head := "POST /webhook HTTP/1.1\r\nHost: h\r\nX-Hub-Signature-256: sha256=0\r\n"
	switch i % 5 {
	case 0:
		fmt.Fprint(connection, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
	case 1:
		fmt.Fprint(connection, head+"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n")
	case 2:
		fmt.Fprint(connection, head+"Content-Length: 99\r\n\r\n{\"half\":")
		return "hung up"
	case 3:
		fmt.Fprint(connection, head+"X-Large: "+strings.Repeat("x", 20_000)+"\r\n\r\n")
	default:
		fmt.Fprint(connection, head+"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08")
	}
	answer := make([]byte, 12)
	if _, err := io.ReadFull(connection, answer); err != nil {
		return "no answer"
	}
	return string(answer[9:12])
}

func main() {
	flag.Parse()
	address, err := url.Parse(*target)
	if err != nil || address.Host == "" {
		log.Fatal("-url is no address")
	}
	transport := &http.Transport{MaxIdleConnsPerHost: *connections, MaxConnsPerHost: *connections}
	client := &http.Client{Transport: transport, Timeout: timeout}
	found := &result{authentic: map[string]int{}, forged: map[string]int{}, malformed: map[string]int{}}
	began := time.Now()
	deadline := began.Add(giveUp)
	var next, taken int64
	isTimed := *seconds > 0
	var workers sync.WaitGroup
	for worker := 0; worker < *connections; worker++ {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for {
				i := int(atomic.AddInt64(&next, 1)) - 1
				if isTimed && time.Since(began).Seconds() >= *seconds || !isTimed && i >= *requests {
					return
				}
				if !isTimed && i*(*forged)/(*requests) < (i+1)*(*forged)/(*requests) {
					found.note(found.forged, forge(client, i), -1)
				}
				if !isTimed && i*(*malformed)/(*requests) < (i+1)*(*malformed)/(*requests) {
					found.note(found.malformed, mangle(address.Host, i), -1)
				}
				raw := body("load", i*(*updates), *updates)
				headers := map[string]string{"X-Hub-Signature-256": sign(raw, *secret)}
				for time.Now().Before(deadline) {
					start := time.Now()
					answer := post(client, raw, headers)
					found.note(found.authentic, answer, float64(time.Since(start).Microseconds())/1000)
					if answer == "200" {
						atomic.AddInt64(&taken, 1)
						break
					}
					time.Sleep(retryAfter)
				}
			}
		}()
	}
	workers.Wait()
	took := time.Since(began).Seconds()
	sort.Float64s(found.tookMs)
	at := func(share float64) float64 {
		if len(found.tookMs) == 0 {
			return 0
		}
		return found.tookMs[min(len(found.tookMs)-1, int(share*float64(len(found.tookMs))))]
	}
	json.NewEncoder(os.Stdout).Encode(map[string]any{
		"taken": taken, "seconds": took, "p50_ms": at(0.5), "p99_ms": at(0.99), "max_ms": at(1),
		"authentic": found.authentic, "forged": found.forged, "malformed": found.malformed,
	})
}
