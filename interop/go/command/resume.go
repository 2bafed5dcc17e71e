package main

import (
	"encoding/json"
	"fmt"
)

// resume expects of the server: 31 is written down, and call 30 tells what was; 40 is sent 100 times while the client is away, or when it comes
// back before that was seen; 32 sends 41 100 times, at once.
func resume(address string) error {
	c, err := open(address)
	if err != nil {
		return err
	}
	id := c.welcome.ID
	wanted := 0
	say := func(count int) error {
		for ; count > 0; count-- {
			// What the connection does not take is kept, and goes over the next one.
			_ = c.say(31, fmt.Sprint(wanted))
			wanted++
		}
		return nil
	}
	away := 0
	for round := 0; round < 3; round++ {
		if err := say(20); err != nil {
			return err
		}
		if err := c.say(32, ""); err != nil {
			return err
		}
		// Some of them come, and the rest is lost on the way.
		for index := 0; index < 7; index++ {
			if err := c.expect(41, fmt.Sprint(index)); err != nil {
				return err
			}
		}
		_ = say(5)
		c.conn.cut()
		_ = say(5)
		if err := c.connect(map[string]any{"v": 1}); err != nil {
			return err
		}
		if !c.welcome.Recovered || c.welcome.ID != id {
			return fmt.Errorf("not recovered: %+v", c.welcome)
		}
		for index := 7; index < 100; index++ {
			if err := c.expect(41, fmt.Sprint(index)); err != nil {
				return err
			}
		}
		for index := 0; index < 100; index++ {
			if err := c.expect(40, fmt.Sprint(index)); err != nil {
				return err
			}
			away++
		}
	}
	answer, err := c.ask(30, "")
	if err != nil {
		return err
	}
	var heard []string
	if err := json.Unmarshal([]byte(answer), &heard); err != nil {
		return err
	}
	for index, text := range heard {
		if text != fmt.Sprint(index) {
			return fmt.Errorf("the server heard %s as number %d", text, index)
		}
	}
	if err := c.part(); err != nil {
		return err
	}
	return ok(len(heard), wanted, away)
}

// takeover resumes beside a connection that is still there, which is then closed.
func takeover(address string) error {
	c, err := open(address)
	if err != nil {
		return err
	}
	old, id := c.conn, c.welcome.ID
	return steps(
		func() error { return c.messages(10) },
		func() error { return c.connect(map[string]any{"v": 1}) },
		func() error {
			if !c.welcome.Recovered || c.welcome.ID != id {
				return fmt.Errorf("not recovered: %+v", c.welcome)
			}
			return nil
		},
		func() error { return c.messages(10) },
		func() error {
			ending, err := (&client{conn: old, next: c.next, received: 1 << 30}).ending()
			if err == nil {
				err = ok(ending)
			}
			return err
		},
		func() error { return c.part() },
	)
}

func stranger(address string) error {
	c := &client{address: address, received: 7, sent: 3}
	c.welcome.Token = "nobody gave this"
	if err := c.connect(map[string]any{"v": 1, "rooms": []any{map[string]any{"name": "lobby"}}}); err != nil {
		return err
	}
	if c.welcome.Recovered || c.welcome.Token == "" || c.welcome.Received != 0 {
		return fmt.Errorf("WELCOME %+v", c.welcome)
	}
	return steps(
		func() error {
			return c.until("itself", func(p presenceOf) bool { _, isThere := p.All[c.welcome.ID]; return isThere })
		},
		func() error { return c.messages(10) },
		func() error { return c.part() },
		func() error { return ok(c.welcome.Rooms) },
	)
}

func leaveForGood(address string) error {
	c, err := open(address)
	if err != nil {
		return err
	}
	id := c.welcome.ID
	if err := c.part(); err != nil {
		return err
	}
	if err := c.connect(map[string]any{"v": 1}); err != nil {
		return err
	}
	if c.welcome.Recovered || c.welcome.ID == id {
		return fmt.Errorf("recovered: %+v", c.welcome)
	}
	if err := c.part(); err != nil {
		return err
	}
	return ok()
}
