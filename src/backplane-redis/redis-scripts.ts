/**
 * What must happen in one step. KEYS[1] is the prefix of all keys; the names of the others are made from it, so they must be on one server.
 *
 * ```
 *  <prefix>nodes                     set: all nodes, dead ones too until they are cleared
 *  <prefix>node:<id>                 the lease: there while the node lives, with an expiry
 *  <prefix>node:<id>:clients         set: clients of the node
 *  <prefix>node:<id>:rooms           set: rooms in which the node has members
 *  <prefix>node:<id>:room:<room>     hash: member -> version (8 bytes) and state
 * ```
 */
const CLEAR = `
local function clear(id)
  local node = KEYS[1] .. 'node:' .. id
  local rooms = redis.pcall('SMEMBERS', node .. ':rooms')
  if rooms.err == nil then
    for _, room in ipairs(rooms) do redis.call('DEL', node .. ':room:' .. room) end
  end
  redis.call('DEL', node, node .. ':rooms', node .. ':clients')
  redis.call('SREM', KEYS[1] .. 'nodes', id)
end
`;

/** ARGV[1]: a node that begins anew, or goes. */
export const CLEAR_NODE: string = `${CLEAR} clear(ARGV[1])`;

/** ARGV[1]: a node to be cleared unless it is alive. */
export const FORGET_NODE: string = `${CLEAR} if redis.call('EXISTS', KEYS[1] .. 'node:' .. ARGV[1]) == 0 then clear(ARGV[1]) end`;

/** Clears all that are not alive. */
export const FORGET_DEAD_NODES: string = `${CLEAR}
for _, id in ipairs(redis.call('SMEMBERS', KEYS[1] .. 'nodes')) do
  if redis.call('EXISTS', KEYS[1] .. 'node:' .. id) == 0 then clear(id) end
end`;

/** ARGV: node, room, member. */
export const REMOVE_MEMBER = `
local node = KEYS[1] .. 'node:' .. ARGV[1]
local room = node .. ':room:' .. ARGV[2]
redis.call('HDEL', room, ARGV[3])
if redis.call('EXISTS', room) == 0 then redis.call('SREM', node .. ':rooms', ARGV[2]) end`;

/** ARGV[1]: room. Answers node, its members, the next node, ... */
export const READ_ROOM = `
local found = {}
for _, id in ipairs(redis.call('SMEMBERS', KEYS[1] .. 'nodes')) do
  local node = KEYS[1] .. 'node:' .. id
  if redis.call('EXISTS', node) == 1 then
    found[#found + 1] = id
    found[#found + 1] = redis.call('HGETALL', node .. ':room:' .. ARGV[1])
  end
end
return found`;

/** ARGV[1]: client. Answers its node. */
export const LOCATE = `
for _, id in ipairs(redis.call('SMEMBERS', KEYS[1] .. 'nodes')) do
  local node = KEYS[1] .. 'node:' .. id
  if redis.call('SISMEMBER', node .. ':clients', ARGV[1]) == 1 and redis.call('EXISTS', node) == 1 then return id end
end
return false`;
