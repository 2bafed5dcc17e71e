// npm start
/**
 * A chat for browsers, for `nc` and for the command line at once. It shows what a server for strangers needs: one typed protocol value,
 * limits on everything, rates, names that nobody can forge, sessions that survive the loss of their connection, and an orderly end.
 *
 *   PORT=7000 WEB_PORT=7080 npm start      then, in other terminals:  nc 127.0.0.1 7000      or in a browser:  http://127.0.0.1:7080
 */
import { startChat } from './start.ts';

function log(line: string): void {
  console.log(`${new Date().toISOString().slice(11, 19)} ${line}`);
}

const port = process.env['PORT'] ?? '7000';
const webPort = process.env['WEB_PORT'] ?? '7080';

try {
  const chat = await startChat(`:${port}`, Number(webPort), log);
  let isClosing = false;
  const shutDown = async (signal: NodeJS.Signals): Promise<void> => {
    if (isClosing) process.exit(1);
    isClosing = true;
    log(`${signal}: closing; once more to stop at once`);
    for (const report of await chat.close()) {
      log(`closed: ${report.flushed} of ${report.sessions} sessions had received everything`);
      for (const { remoteAddress, unsentBytes } of report.unflushed) log(`  ${remoteAddress}: ${unsentBytes} bytes were not sent`);
    }
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, (name) => void shutDown(name));
  console.log(`The chat is open. In a browser:  http://127.0.0.1:${chat.webPort}`);
  console.log(`In another terminal:  nc 127.0.0.1 ${chat.port}   or   npx tsx examples/chat/cli.ts ws://127.0.0.1:${chat.webPort}/chat`);
  console.log('Ctrl-C closes it.');
} catch (error) {
  console.error(`cannot listen on ports ${port} and ${webPort}: ${error instanceof Error ? error.message : error}`);
  process.exit(1);
}
