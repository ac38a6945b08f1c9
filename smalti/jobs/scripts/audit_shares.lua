-- audit_shares.lua: check that clients have a turn, by their time, for the models of which they have claimable samples, and
-- for no others; repair what no other script would have left.
-- KEYS  1 meta
-- ARGV  1… for each: digest, class, client
-- Returns the number of repairs.

-- Give the client its turn; whether it lacked anything.
local function list(digest, class, client)
  local share, turns = share_key(class, client), turns_key(digest, class)
  local f = redis.call('HMGET', share, 'time', digest)
  local time, turn = tonumber(f[1] or '') or clock_of(class), redis.call('ZSCORE', turns, client)
  if f[1] and f[2] and turn and tonumber(turn) == time and redis.call('PTTL', share) == -1 then return false end
  redis.call('HSET', share, 'time', exact(time), digest, '')
  redis.call('PERSIST', share)
  redis.call('ZADD', turns, exact(time), client)
  return true
end

-- Take the turn from a client that has nothing to claim; whether it had one, or would be remembered for ever.
local function unlist_idle(digest, class, client)
  local share = share_key(class, client)
  local had = redis.call('ZSCORE', turns_key(digest, class), client) or redis.call('HEXISTS', share, digest) == 1
  if had then unlist_client(digest, class, client) end
  local is_idle = redis.call('HLEN', share) == 1 and redis.call('PTTL', share) == -1
  if is_idle then redis.call('PEXPIRE', share, int(SHARE_TTL)) end
  return had or is_idle
end

allow_beyond_memory_limit()
local repairs = 0
for place = 1, #ARGV, 3 do
  local digest, class, client = ARGV[place], ARGV[place + 1], ARGV[place + 2]
  local act = redis.call('EXISTS', ready_key(digest, class, client)) == 1 and list or unlist_idle
  if act(digest, class, client) then repairs = repairs + 1 end
end
return repairs
