import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import type { Scene } from './scene.ts';

export interface CuttableNetwork {
  readonly port: number;
  /** Resets all connections and, until it is mended, every new one. */
  cut(): void;
  mend(): void;
}

/** A network between a client and a port of this machine, that can be cut. Gone when the test is over. */
export async function cuttableNetwork(scene: Scene, port: number): Promise<CuttableNetwork> {
  const sockets = new Set<Socket>();
  let isCut = false;
  const proxy = createServer((near) => {
    if (isCut) {
      near.resetAndDestroy();
      return;
    }
    const far = connect(port, '127.0.0.1');
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket
        .on('error', () => {})
        .on('close', () => {
          near.destroy();
          far.destroy();
          sockets.delete(socket);
        });
    }
    near.pipe(far).pipe(near);
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const reset = (): void => {
    for (const socket of sockets) socket.resetAndDestroy();
  };
  scene.atEnd(async () => {
    reset();
    await new Promise((resolve) => proxy.close(resolve));
  });
  return {
    // It listens on a port, so this is no name of a pipe.
    port: (proxy.address() as AddressInfo).port,
    cut() {
      isCut = true;
      reset();
    },
    mend() {
      isCut = false;
    },
  };
}
