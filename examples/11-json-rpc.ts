// npx tsx examples/11-json-rpc.ts
// JSON-RPC 2.0 over TCP lines, typed on both sides: calls, an error, a stream, and a call back from the server to its client.
import { TcpClient, TcpServer, withEventListener, withLocalAddress, withPkgHandler, withReconnect, withServerAddress } from 'portico';
import { defineRpc, RpcClient, RpcError, RpcLineHandler, RpcListener } from 'portico/rpc';

const bank = defineRpc<{
  deposit: { params: { amount: number }; result: number };
  statement: { params: { months: number }; item: string };
}>();
const customer = defineRpc<{ confirm: { params: [string]; result: boolean } }>();

let balance = 100;
const listener = new RpcListener({
  protocol: bank,
  remote: customer,
  onPeer: (peer) => {
    peer.method('deposit', async ({ amount }) => {
      if (amount <= 0) throw new RpcError(4001, 'The amount must be positive', { amount });
      if (!(await peer.call('confirm', [`deposit ${amount}?`]))) throw new RpcError(4002, 'Not confirmed');
      balance += amount;
      return balance;
    });
  },
});
listener.method('statement', async function* ({ months }) {
  for (let month = 1; month <= months; month++) yield `month ${month}: ${balance}`;
});
const server = new TcpServer(withLocalAddress('127.0.0.1:0'), withPkgHandler(new RpcLineHandler()), withEventListener(listener));
await server.listen();

const rpc = new RpcClient({ remote: bank, protocol: customer });
rpc.method('confirm', ([question]) => {
  console.log(`asked: ${question}`);
  return true;
});
const client = new TcpClient(
  withServerAddress(server.localAddress.text),
  withReconnect(false),
  withPkgHandler(new RpcLineHandler()),
  withEventListener(rpc),
);
await client.connect();

console.log('balance:', await rpc.call('deposit', { amount: 50 }));
await rpc.call('deposit', { amount: -1 }).catch((error: RpcError) => console.log(error.code, error.message, error.data));
for await (const line of rpc.stream('statement', { months: 3 })) console.log(line);

await client.close();
await server.close();
