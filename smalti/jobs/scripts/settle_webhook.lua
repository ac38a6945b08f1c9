-- settle_webhook.lua: forget a webhook that was delivered or given up, or put off the next try.
-- KEYS  1 meta
-- ARGV  1 job id   2 number of the try   3 ms until the next try, '' if there is none   4 1 if it was tried, 0 if not
-- Returns nothing. A word about a try that is not the last one changes nothing: somebody else has the webhook now.

allow_beyond_memory_limit()
local name = key('job', ARGV[1])
if fields_of_job(name, 'webhook_tries')[1] ~= ARGV[2] then return end
if ARGV[4] == '0' then redis.call('HINCRBY', name, 'webhook_tries', '-1') end
if ARGV[3] == '' then redis.call('ZREM', key('webhooks'), ARGV[1])
else redis.call('ZADD', key('webhooks'), 'XX', int(now + tonumber(ARGV[3])), ARGV[1]) end
