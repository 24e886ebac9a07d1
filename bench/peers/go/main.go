// Go's net/http on one thread.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"runtime"
	"time"
)

func main() {
	port := flag.Int("port", 0, "port to listen on")
	flag.Parse()
	runtime.GOMAXPROCS(1)
	hello := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, "Hello, world!")
	}
	http.HandleFunc("/hello", hello)
	http.HandleFunc("/sleep/10", func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(10 * time.Millisecond)
		hello(w, r)
	})
	log.Fatal(http.ListenAndServe(fmt.Sprintf("127.0.0.1:%d", *port), nil))
}
