// The obvious echo server on node:dgram: one send for each datagram.
import dgram from 'node:dgram';

const socket = dgram.createSocket({ type: 'udp4', recvBufferSize: 4_194_304 });
socket.on('message', (message, { port, address }) => socket.send(message, port, address));
socket.bind(0, '127.0.0.1', () => console.log(JSON.stringify({ port: socket.address().port, pid: process.pid })));
process.on('SIGTERM', () => process.exit(0));
