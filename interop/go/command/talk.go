package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// steps does one thing after the other, up to the first that fails.
func steps(all ...func() error) error {
	for index, step := range all {
		if err := step(); err != nil {
			return fmt.Errorf("step %d: %w", index+1, err)
		}
	}
	return nil
}

// talk expects of the server: 1 echoes, 5 echoes as a volatile message, 20 calls command 21 of the client and sends its answer as 22; calls:
// 10 echoes, 11 fails with NO_LUCK and data, 12 fails with a secret, 13 streams as many numbers as the payload says, 14 never answers.
func talk(address string) error {
	c, err := open(address)
	if err != nil {
		return err
	}
	if c.welcome.ID == "" || c.welcome.Token == "" || c.welcome.Recovered || c.welcome.MaxPayloadBytes == 0 || c.welcome.HeartbeatMs == 0 {
		return fmt.Errorf("WELCOME %+v", c.welcome)
	}
	return steps(
		func() error { return c.conn.write(encode([]uint32{ping}, []byte("12345678"))) },
		func() error { return c.expect(pong, "12345678") },
		func() error { return c.messages(100) },
		func() error { return c.say(5, "now or never") },
		func() error { return c.expect(volatile, string(encode([]uint32{5}, []byte("now or never")))) },
		func() error { return c.conn.write(encode([]uint32{volatile, 1}, []byte("uncounted"))) },
		func() error { return c.expect(1, "uncounted") },
		func() error { return c.callsOf() },
		func() error { return c.stream() },
		func() error { return c.cancelled() },
		func() error { return c.called() },
		func() error { return c.part() },
		func() error { return ok(c.received, c.acked > 2) },
	)
}

func (c *client) messages(count int) error {
	for index := 0; index < count; index++ {
		if err := c.say(1, fmt.Sprint("message ", index)); err != nil {
			return err
		}
	}
	for index := 0; index < count; index++ {
		if err := c.expect(1, fmt.Sprint("message ", index)); err != nil {
			return err
		}
	}
	return nil
}

func (c *client) callsOf() error {
	for _, text := range []string{"", "gr\u00fc\u00dfe", strings.Repeat("x", 100_000)} {
		number, err := c.call(10, text)
		if err != nil {
			return err
		}
		if err := c.expectReply(number, 0, text); err != nil {
			return err
		}
	}
	for id, code := range map[uint32]string{11: "NO_LUCK", 12: "INTERNAL", 999: "NOT_FOUND"} {
		number, err := c.call(id, "")
		if err != nil {
			return err
		}
		data, err := c.expectError(number, code)
		if err != nil {
			return err
		}
		if id == 11 && string(data) != `{"why":1}` {
			return fmt.Errorf("data %s", data)
		}
	}
	return nil
}

// stream takes 10 numbers in portions of 3, and nothing comes that was not asked for.
func (c *client) stream() error {
	number, err := c.call(13, "10")
	if err != nil {
		return err
	}
	for item := 0; item < 10; item++ {
		if item%3 == 0 {
			// The echo behind it shows that no item came before its time.
			if err := c.say(1, "still waiting"); err != nil {
				return err
			}
			if err := c.expect(1, "still waiting"); err != nil {
				return err
			}
			if err := c.send(encode([]uint32{credit, number, 3}, nil)); err != nil {
				return err
			}
		}
		if err := c.expectReply(number, 2, fmt.Sprint(item)); err != nil {
			return err
		}
	}
	return c.expectReply(number, 3, "")
}

func (c *client) cancelled() error {
	number, err := c.call(14, "")
	if err != nil {
		return err
	}
	if err := c.send(encode([]uint32{cancel, number}, nil)); err != nil {
		return err
	}
	_, err = c.expectError(number, "ABORTED")
	return err
}

// called answers a call of the server.
func (c *client) called() error {
	if err := c.say(20, "question"); err != nil {
		return err
	}
	got, err := c.receive()
	if err != nil {
		return err
	}
	if got.id != call || len(got.payload) < 8 || string(got.payload[4:]) != string(encode([]uint32{21}, []byte("question"))) {
		return fmt.Errorf("expected a call, given %x %q", got.id, got.payload)
	}
	if err := c.send(append(append(encode([]uint32{reply}, got.payload[:4]), 0), "answer"...)); err != nil {
		return err
	}
	return c.expect(22, "answer")
}

// --- rooms ---

type presenceOf struct {
	Room   string
	Joined map[string]json.RawMessage
	Left   []string
	All    map[string]json.RawMessage
}

// until skips what comes of presence before it says what is wanted.
func (c *client) until(what string, isIt func(presenceOf) bool) error {
	for {
		got, err := c.receive()
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		var news presenceOf
		if got.id != presence {
			return fmt.Errorf("%s: given %x %q", what, got.id, got.payload)
		}
		if err := json.Unmarshal(got.payload, &news); err != nil {
			return err
		}
		if news.Room == "lobby" && isIt(news) {
			return nil
		}
	}
}

func (c *client) ask(id uint32, body string) (string, error) {
	number, err := c.call(id, body)
	if err != nil {
		return "", err
	}
	for {
		got, err := c.receive()
		if err != nil {
			return "", err
		}
		if got.id == presence {
			continue
		}
		if got.id != reply || string(got.payload[:5]) != string(append(encode([]uint32{number}, nil), 0)) {
			return "", fmt.Errorf("expected an answer, given %x %q", got.id, got.payload)
		}
		return string(got.payload[5:]), nil
	}
}

func roomMessage(name string, id uint32, text string) []byte {
	head := append(encode([]uint32{room}, []byte{byte(len(name))}), name...)
	return append(head, encode([]uint32{id}, []byte(text))...)
}

// rooms expects a server that lets everybody into "lobby" and nobody into "cellar", and passes messages on.
func rooms(address string) error {
	anna, err := open(address)
	if err != nil {
		return err
	}
	bert, err := open(address)
	if err != nil {
		return err
	}
	var answer string
	return steps(
		func() (err error) { answer, err = anna.ask(join, `{"room":"lobby","state":{"mood":"good"}}`); return },
		func() (err error) { answer, err = bert.ask(join, `{"room":"lobby","state":1}`); return },
		func() error {
			var told struct{ Members map[string]json.RawMessage }
			err := json.Unmarshal([]byte(answer), &told)
			if err == nil && (len(told.Members) != 2 || string(told.Members[anna.welcome.ID]) != `{"mood":"good"}`) {
				err = errors.New(answer)
			}
			return err
		},
		func() error {
			return anna.until("bert's coming", func(p presenceOf) bool { return string(p.Joined[bert.welcome.ID]) == "1" })
		},
		func() error { return bert.send(roomMessage("lobby", 7, "hello")) },
		func() error { return anna.expect(room, string(roomMessage("lobby", 7, "hello")[4:])) },
		// The sender gets no copy: the echo is next, after what may still be told of who is there.
		func() error { return bert.say(1, "mine") },
		func() error {
			for {
				got, err := bert.receive()
				if err != nil || got.id == 1 {
					return err
				}
				if got.id != presence {
					return fmt.Errorf("given %x", got.id)
				}
			}
		},
		func() (err error) { _, err = bert.ask(state, `{"room":"lobby","state":2}`); return },
		func() error {
			return anna.until("bert's state", func(p presenceOf) bool { return string(p.Joined[bert.welcome.ID]) == "2" })
		},
		func() error {
			number, err := anna.call(join, `{"room":"cellar"}`)
			if err == nil {
				_, err = anna.expectError(number, "FORBIDDEN")
			}
			return err
		},
		func() (err error) { _, err = bert.ask(leave, `{"room":"lobby"}`); return },
		func() error {
			return anna.until("bert's leaving", func(p presenceOf) bool { return len(p.Left) == 1 && p.Left[0] == bert.welcome.ID })
		},
		func() error { return bert.part() },
		func() error { return anna.part() },
		func() error { return ok() },
	)
}

// --- ends ---

// silent says nothing, which a server takes for death, or pings, which it does not.
func silent(address string) error {
	c, err := open(address)
	if err != nil {
		return err
	}
	if !*isPinger {
		started := time.Now()
		_, err := c.conn.read()
		if err == nil || time.Since(started) > limit/2 {
			return fmt.Errorf("still there after %v: %v", time.Since(started), err)
		}
		return ok("lost")
	}
	for beat := 0; beat < 5; beat++ {
		time.Sleep(time.Duration(c.welcome.HeartbeatMs) * time.Millisecond)
		if err := c.conn.write(encode([]uint32{ping}, []byte{byte(beat)})); err != nil {
			return err
		}
		if err := c.expect(pong, string([]byte{byte(beat)})); err != nil {
			return err
		}
	}
	if err := c.part(); err != nil {
		return err
	}
	return ok("heard")
}

func hasty(address string) error {
	conn, err := dial(address)
	if err != nil {
		return err
	}
	c := &client{conn: conn, next: 1}
	if err := c.say(1, "too early"); err != nil {
		return err
	}
	return printEnding(c)
}

func twice(address string) error {
	c, err := open(address)
	if err != nil {
		return err
	}
	if err := c.conn.write(encode([]uint32{hello}, []byte(`{"v":1}`))); err != nil {
		return err
	}
	return printEnding(c)
}

func printEnding(c *client) error {
	ending, err := c.ending()
	if err != nil {
		return err
	}
	return ok(ending)
}
