-- running.lua: count the samples in workers' slots, and read the state of jobs at the same moment.
-- A worker may hold more samples than it has slots: it claims new ones while the last rows of others are on their way to
-- Redis. The samples that it claimed first have left their slots and are not counted.
-- KEYS  1 meta
-- ARGV  1 names of a job's fields, separated by spaces   2… job ids; without both, only the total is returned
-- Returns {total of all jobs, then for each of these jobs {its number, values of those fields}}.

local left, left_in_all = {}, 0  -- samples that have left their slots, by job and in all

local function by_age(held)
  local samples, fields = {}, redis.call('HGETALL', held)
  for position = 1, #fields, 2 do
    samples[#samples + 1] = {job = string.match(fields[position], '^(.+):'), token = tonumber(fields[position + 1])}
  end
  table.sort(samples, function(a, b) return a.token < b.token end)
  return samples
end

local function note_those_that_left(worker)
  local held, slots = key('held', worker), tonumber(redis.call('HGET', key('worker', worker), 'slots') or '')
  local more = slots and redis.call('HLEN', held) - slots or 0
  if more <= 0 then return end
  local samples = by_age(held)
  for place = 1, more do left[samples[place].job] = (left[samples[place].job] or 0) + 1 end
  left_in_all = left_in_all + more
end

for _, worker in ipairs(redis.call('ZRANGE', key('workers'), 0, -1)) do note_those_that_left(worker) end
local numbers = {tonumber(redis.call('HGET', key('totals'), 'running') or '0') - left_in_all}
local fields = {}
for name in string.gmatch(ARGV[1] or '', '%S+') do fields[#fields + 1] = name end
for place = 2, #ARGV do
  local id = ARGV[place]
  local number = redis.call('SCARD', key('running', id)) - (left[id] or 0)
  numbers[#numbers + 1] = {number, redis.call('HMGET', key('job', id), unpack(fields))}
end
return numbers
