import { describe, expect, it } from 'vitest';
import { BackplaneCounters } from '../../src/backplane/counters.ts';
import { InProcessBackplane } from '../../src/backplane/in-process.ts';
import { RemoteMembers } from '../../src/backplane/remote-members.ts';
import { BackplaneRecorder } from '../../src/testing/index.ts';

const state = (text: string): Uint8Array => Buffer.from(text);

function scene(maxMembers = 10): { sink: BackplaneRecorder; remote: RemoteMembers } {
  const sink = new BackplaneRecorder(new InProcessBackplane());
  const remote = new RemoteMembers(() => sink, new BackplaneCounters(), maxMembers);
  remote.follow('lobby');
  return { sink, remote };
}

describe('members on other nodes', () => {
  it('that changed or left while a room was read are as they were announced, not as they were read', () => {
    const { sink, remote } = scene();
    remote.beginSync('lobby');
    remote.apply('lobby', 'n', 'ann', 5, undefined);
    remote.apply('lobby', 'n', 'bob', 6, state('new'));
    remote.apply('lobby', 'n', 'cid', 7, state('came'));
    remote.applySnapshot('lobby', 'n', [
      { memberId: 'ann', version: 1, state: state('read') },
      { memberId: 'bob', version: 2, state: state('old') },
    ]);
    expect(remote.endSync('lobby')).toBe(true);
    expect(sink.membersOf('lobby')).toEqual({ bob: 'new', cid: 'came' });
    expect(sink.changes).toEqual(['+bob', '+cid']);
  });

  it('are read again when more changed meanwhile than can be noted', () => {
    const { sink, remote } = scene(2);
    remote.beginSync('lobby');
    for (const name of ['a', 'b', 'c']) remote.apply('lobby', 'n', name, 5, undefined);
    remote.applySnapshot('lobby', 'n', [{ memberId: 'c', version: 1, state: state('read') }]);
    expect(remote.endSync('lobby')).toBe(false);
    expect(sink.changes).toEqual([]);
  });
});
