// The peer of bench/rooms on Go and gorilla/websocket, on one thread: a goroutine reads each connection.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"runtime"
	"sync"

	"github.com/gorilla/websocket"
)

func main() {
	port := flag.Int("port", 0, "port to listen on")
	flag.Parse()
	runtime.GOMAXPROCS(1)
	var lock sync.Mutex
	members := map[*websocket.Conn]bool{}
	upgrader := websocket.Upgrader{ReadBufferSize: 1024, WriteBufferSize: 1024, WriteBufferPool: &sync.Pool{}}
	http.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		lock.Lock()
		members[conn] = true
		lock.Unlock()
		for {
			if _, _, err := conn.ReadMessage(); err != nil {
				break
			}
		}
		lock.Lock()
		delete(members, conn)
		lock.Unlock()
		conn.Close()
	})
	http.HandleFunc("/publish", func(w http.ResponseWriter, r *http.Request) {
		data, _ := io.ReadAll(r.Body)
		// The frame is made once for all, gorilla's way of a broadcast.
		message, _ := websocket.NewPreparedMessage(websocket.TextMessage, []byte(fmt.Sprintf(`{"room":"bench","data":%s}`, data)))
		lock.Lock()
		for conn := range members {
			conn.WritePreparedMessage(message)
		}
		lock.Unlock()
		io.WriteString(w, "{}")
	})
	fmt.Println("ready")
	log.Fatal(http.ListenAndServe(fmt.Sprintf("127.0.0.1:%d", *port), nil))
}
