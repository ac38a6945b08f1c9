-- renew.lua: renew the lease of a worker, so that it keeps its samples, and take back samples that it does not know of.
-- After a failover that lost the end of a sample, Redis says that the worker has it, and the worker knows that it ended.
-- KEYS  1 meta
-- ARGV  1 worker   2 lease, ms   3 sequence number of its next claim, '' to take nothing back
--       4… tokens of the samples that it holds
-- Returns 1 if renewed, 0 if the lease has run out and the samples were given back. A lease that ran out while nobody
-- recovered is renewed: no other worker can have the samples yet. Nothing is taken back while a claim's reply is on its
-- way, and a call that comes late takes nothing back either: that claim's number is not below ARGV 3.

allow_beyond_memory_limit()
local worker = ARGV[1]
local me, workers, touched = key('worker', worker), key('workers'), {}
keep_worker(worker, tonumber(ARGV[2]))
redis.call('ZADD', workers, 'XX', int(now + tonumber(ARGV[2])), worker)
if not redis.call('ZSCORE', workers, worker) then return 0 end

local function take_back_unknown()
  local known, held = {}, redis.call('HGETALL', key('held', worker))
  for place = 4, #ARGV do known[ARGV[place]] = true end
  for position = 1, #held, 2 do
    local id, index = string.match(held[position], '^(.+):(%d+)$')
    local job = not known[held[position + 1]] and find(id)
    if job then
      take_from(worker, id, index)
      return_sample(job, index, '', crashes_of(job, index))
      touched[id] = true
    end
  end
end

local last = tonumber(redis.call('HGET', me, 'sequence') or '-1')
if ARGV[3] ~= '' and last < tonumber(ARGV[3]) and redis.call('HLEN', key('held', worker)) > #ARGV - 3 then
  take_back_unknown()
  conclude()
  ring_bell()
  for id in pairs(touched) do announce(id) end
end
return 1
