package main

import (
	"encoding/json"
	"fmt"
	"strings"
)

const (
	rpcID      = 0xffffffff
	rpcErrorID = 0xfffffffe
)

type response struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Result  json.RawMessage `json:"result"`
	Error   *struct {
		Code    int             `json:"code"`
		Message string          `json:"message"`
		Data    json.RawMessage `json:"data"`
	} `json:"error"`
}

// next reads a response; errors of single requests may come under an id of their own.
func next(c client) (uint32, response, error) {
	id, payload, err := c.receive()
	var answer response
	if err != nil {
		return id, answer, err
	}
	if id != rpcID && id != rpcErrorID {
		return id, answer, fmt.Errorf("a response under %x", id)
	}
	if err := json.Unmarshal(payload, &answer); err != nil {
		return id, answer, err
	}
	if answer.Version != "2.0" || (answer.Result == nil) == (answer.Error == nil) {
		return id, answer, fmt.Errorf("no response: %s", payload)
	}
	return id, answer, nil
}

func ask(c client, text string) (uint32, response, error) {
	if err := c.send(rpcID, []byte(text)); err != nil {
		return 0, response{}, err
	}
	return next(c)
}

// rpc expects the methods: add {a, b} -> a + b, nothing -> null, fail -> an error that is not told, refuse -> error 4001 with data "why".
func rpc(c client) error {
	id, answer, err := ask(c, `{"jsonrpc":"2.0","method":"add","params":{"a":1,"b":2},"id":1}`)
	if err != nil {
		return err
	}
	if id != rpcID || string(answer.Result) != "3" || string(answer.ID) != "1" {
		return fmt.Errorf("1 + 2 was answered %s", answer.Result)
	}
	if err := many(c); err != nil {
		return err
	}
	if _, answer, err = ask(c, `{"jsonrpc":"2.0","method":"nothing","params":{},"id":"n"}`); err != nil {
		return err
	}
	if string(answer.Result) != "null" || string(answer.ID) != `"n"` {
		return fmt.Errorf("nothing was answered %s", answer.Result)
	}
	errorID, err := refusals(c)
	if err != nil {
		return err
	}
	// A notification has no answer: the next one is that of the call behind it.
	if err := c.send(rpcID, []byte(`{"jsonrpc":"2.0","method":"add","params":{"a":5,"b":6}}`)); err != nil {
		return err
	}
	if _, answer, err = ask(c, `{"jsonrpc":"2.0","method":"add","params":{"a":7,"b":8},"id":9007199254740991}`); err != nil {
		return err
	}
	if string(answer.Result) != "15" || string(answer.ID) != "9007199254740991" {
		return fmt.Errorf("7 + 8 was answered %s for %s", answer.Result, answer.ID)
	}
	return ok(fmt.Sprintf("%x", errorID))
}

// many has 100 calls open at a time, and expects each answer once.
func many(c client) error {
	open := map[string]int{}
	for index := 0; index < 100; index++ {
		id := fmt.Sprint(1_700_000_000_000 + index)
		open[id] = 2*index + 1
		text := fmt.Sprintf(`{"jsonrpc":"2.0","method":"add","params":{"a":%d,"b":%d},"id":%s}`, index, index+1, id)
		if err := c.send(rpcID, []byte(text)); err != nil {
			return err
		}
	}
	for len(open) > 0 {
		_, answer, err := next(c)
		if err != nil {
			return err
		}
		sum, isOpen := open[string(answer.ID)]
		if !isOpen || string(answer.Result) != fmt.Sprint(sum) {
			return fmt.Errorf("%s was answered %s, not %d", answer.ID, answer.Result, sum)
		}
		delete(open, string(answer.ID))
	}
	return nil
}

func refusals(c client) (uint32, error) {
	cases := []struct {
		text, id string
		code     int
	}{
		{`{"jsonrpc":"2.0","method":"nope","params":{},"id":1}`, "1", -32601},
		{`nonsense`, "null", -32700},
		{`{"jsonrpc":"1.0","method":"add","params":{},"id":2}`, "2", -32600},
		{`{"jsonrpc":"2.0","method":"fail","params":{},"id":3}`, "3", -32603},
		{`{"jsonrpc":"2.0","method":"refuse","params":{},"id":4}`, "4", 4001},
	}
	var errorID uint32
	for _, each := range cases {
		id, answer, err := ask(c, each.text)
		if err != nil {
			return 0, err
		}
		if answer.Error == nil || answer.Error.Code != each.code || string(answer.ID) != each.id {
			return 0, fmt.Errorf("%s was answered %+v for %s", each.text, answer.Error, answer.ID)
		}
		if strings.Contains(answer.Error.Message, "secret") {
			return 0, fmt.Errorf("told: %s", answer.Error.Message)
		}
		if each.code == 4001 && string(answer.Error.Data) != `"why"` {
			return 0, fmt.Errorf("data %s", answer.Error.Data)
		}
		if errorID != 0 && errorID != id {
			return 0, fmt.Errorf("errors under %x and %x", errorID, id)
		}
		errorID = id
	}
	return errorID, nil
}
