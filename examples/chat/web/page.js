// The browser's side of the chat: the same lines that `nc` users type, one to a WebSocket message.
const lines = document.querySelector('#lines');
const form = document.querySelector('#form');
const state = document.querySelector('#state');
const input = document.querySelector('#text');
const button = form.querySelector('button');
const maxLines = 500;
const maxDelayMs = 10_000;
let socket;
let delayMs = 300;

function show(text, kind) {
  const line = document.createElement('li');
  // As text, so that nothing of what others write becomes part of the page.
  line.textContent = text;
  if (kind) line.className = kind;
  const isAtEnd = lines.scrollHeight - lines.scrollTop - lines.clientHeight < 40;
  lines.append(line);
  while (lines.children.length > maxLines) lines.firstElementChild.remove();
  if (isAtEnd) line.scrollIntoView({ block: 'end' });
}

function setOpen(isOpen, text) {
  state.textContent = text;
  input.disabled = button.disabled = !isOpen;
  if (isOpen) input.focus();
}

function connect() {
  socket = new WebSocket(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/chat`);
  socket.addEventListener('open', () => {
    delayMs = 300;
    setOpen(true, 'connected');
  });
  socket.addEventListener('message', ({ data }) => {
    for (const text of data.split('\n')) if (text !== '') show(text, text.startsWith('* ') ? 'notice' : undefined);
  });
  socket.addEventListener('close', ({ code, reason }) => {
    const why = reason ? `${code}, ${reason}` : code;
    // Who said goodbye is not called back.
    if (code === 1000) return setOpen(false, `closed (${why}); reload the page to come back`);
    setOpen(false, `connection lost (${why}), trying again`);
    setTimeout(connect, delayMs * Math.random());
    delayMs = Math.min(maxDelayMs, delayMs * 2);
  });
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  const text = input.value.trim();
  if (text === '' || socket.readyState !== WebSocket.OPEN) return;
  socket.send(text);
  if (!text.startsWith('/')) show(`you: ${text}`, 'own');
  input.value = '';
});

connect();
