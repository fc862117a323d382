package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

const (
	// httpProxy is the protocol of an HTTP forward proxy: one request and its answer on a stream.
	httpProxy protocol.ID = "/proxy-example/0.0.1"
	// proxyLimit bounds one exchange of a proxy.
	proxyLimit = 30 * time.Second
)

// proxyServe makes the peer a far side: it makes the requests that come on streams.
func (p *oracle) proxyServe(context.Context, struct{}) (fields, error) {
	p.host.SetStreamHandler(httpProxy, p.proxyFar)
	return nil, nil
}

// proxyFar makes one request; where there is no answer the stream is reset.
func (p *oracle) proxyFar(stream network.Stream) {
	outcome := "answered"
	if err := exchangeFar(stream); err != nil {
		outcome = err.Error()
		_ = stream.Reset()
	} else {
		_ = stream.Close()
	}
	p.out.emit("proxied", fields{"outcome": outcome})
}

func exchangeFar(stream network.Stream) error {
	if err := stream.SetDeadline(time.Now().Add(proxyLimit)); err != nil {
		return err
	}
	request, err := http.ReadRequest(bufio.NewReader(stream))
	if err != nil {
		return err
	}
	defer request.Body.Close()
	request.URL.Scheme, request.URL.Host = "http", request.Host
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return response.Write(stream)
}

// proxyListen makes the peer a near side: an HTTP server whose requests another peer makes.
func (p *oracle) proxyListen(ctx context.Context, args peerArgs) (fields, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := &http.Server{
		ReadHeaderTimeout: proxyLimit,
		Handler: http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
			if err := p.exchangeNear(writer, request, args.Peer); err != nil {
				p.out.emit("proxy_failed", fields{"error": err.Error()})
				panic(http.ErrAbortHandler) // cuts the connection
			}
		}),
	}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			p.out.emit("bug", fields{"error": err.Error()})
		}
	}()
	return fields{"addr": listener.Addr().String()}, nil
}

func (p *oracle) exchangeNear(writer http.ResponseWriter, request *http.Request, far peer.ID) error {
	stream, err := p.host.NewStream(request.Context(), far, httpProxy)
	if err != nil {
		return err
	}
	defer stream.Close()
	if err := request.Write(stream); err != nil {
		return err
	}
	response, err := http.ReadResponse(bufio.NewReader(stream), request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	for name, values := range response.Header {
		writer.Header()[name] = values
	}
	writer.WriteHeader(response.StatusCode)
	_, err = io.Copy(flushing{writer}, response.Body)
	return err
}

// flushing passes on each write at once.
type flushing struct{ to http.ResponseWriter }

func (f flushing) Write(data []byte) (int, error) {
	written, err := f.to.Write(data)
	if flusher, ok := f.to.(http.Flusher); ok {
		flusher.Flush()
	}
	return written, err
}
