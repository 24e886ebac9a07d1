//! What the engine does in one step each (Lua, EVAL). All keys of a room have one hash tag, so that they are on one node of a
//! cluster.
//!
//! ```text
//!   {rooms:NAME}:meta      hash: epoch, head, bytes
//!   {rooms:NAME}:history   list: "EPOCH OFFSET MESSAGE", the oldest first
//!   {rooms:NAME}:present   hash: "INSTANCE WORKER MEMBER" → what it says about itself
//!   {rooms:NAME}           channel: the same as the history
//!   rooms:alive:INSTANCE   expires unless its keeper says again that it lives
//! ```

/// KEYS: meta, history. ARGV: channel, a new epoch, the message, most messages, most bytes, milliseconds that they are kept.
/// Gives epoch and offset. An epoch lives a day longer than what it counts, so that who comes back late is told of a loss rather
/// than of another epoch.
pub(super) const PUBLISH: &str = r"
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if not epoch then
  epoch = ARGV[2]
  redis.call('HSET', KEYS[1], 'epoch', epoch)
end
local offset = redis.call('HINCRBY', KEYS[1], 'head', 1)
local entry = epoch .. ' ' .. offset .. ' ' .. ARGV[3]
redis.call('RPUSH', KEYS[2], entry)
local bytes = redis.call('HINCRBY', KEYS[1], 'bytes', #entry)
local count = redis.call('LLEN', KEYS[2])
while count > 1 and (count > tonumber(ARGV[4]) or bytes > tonumber(ARGV[5])) do
  local oldest = redis.call('LPOP', KEYS[2])
  bytes = redis.call('HINCRBY', KEYS[1], 'bytes', -#oldest)
  count = count - 1
end
redis.call('PEXPIRE', KEYS[2], ARGV[6])
redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[6]) + 86400000)
redis.call('PUBLISH', ARGV[1], entry)
return {epoch, tostring(offset)}
";

/// KEYS: meta, history. ARGV: a new epoch. Gives epoch, head and all entries.
pub(super) const SNAPSHOT: &str = r"
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if not epoch then
  epoch = ARGV[1]
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'head', 0)
  redis.call('PEXPIRE', KEYS[1], 86400000)
end
local all = redis.call('LRANGE', KEYS[2], 0, -1)
if #all == 0 then
  redis.call('HSET', KEYS[1], 'bytes', 0)
end
table.insert(all, 1, redis.call('HGET', KEYS[1], 'head') or '0')
table.insert(all, 1, epoch)
return all
";
