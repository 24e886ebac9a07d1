-- The way in: what is asked for, by whom, and one bell for all who could start something because of it.

local word = ARGV[4] ~= '' and cmsgpack.unpack(ARGV[4]) or nil
local answer = 'done'

if asked == 'open' then
  answer = J.open(word)
elseif call('HGET', P .. 'session', keeper) ~= session then
  -- A keeper that was taken for dead, or has been replaced, knows nothing any more.
  return redis.error_reply('STALE this session is over')
elseif asked == 'enqueue' then
  answer = J.enqueue(word, 0)
elseif asked == 'forward' then
  answer = J.forward(word)
elseif asked == 'take' then
  answer = J.take_all(word)
elseif asked == 'settle' then
  J.settle(word)
elseif asked == 'crashed' then
  J.crashed(word)
elseif asked == 'returned' then
  J.returned(word)
elseif asked == 'beat' then
  answer = J.beat(word)
elseif asked == 'fire' then
  answer = J.fire(word)
elseif asked == 'fired' then
  answer = {}
  for index, name in ipairs(word) do
    answer[index] = call('HGET', P .. 'fired', name)
  end
elseif asked == 'progress' then
  if call('HGET', job_key(word.seq), 'by') == keeper then
    call('HSET', job_key(word.seq), 'progress', word.percent)
  end
elseif asked == 'define' then
  J.define(word)
elseif asked == 'queues' then
  answer = J.queues()
elseif asked == 'list' then
  answer = J.list(word)
elseif asked == 'job' then
  answer = J.look_up(word)
elseif asked == 'retry' then
  answer = J.revive(word)
elseif asked == 'cancel' then
  answer = J.cancel(word)
elseif asked == 'delete' then
  answer = J.delete(word)
elseif asked == 'switch' then
  answer = J.switch(word)
elseif asked == 'close' then
  answer = J.close()
else
  return redis.error_reply('UNKNOWN ' .. asked)
end

if rang then
  call('PUBLISH', P .. 'bell', keeper)
end
return answer
