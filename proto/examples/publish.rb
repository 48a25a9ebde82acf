# AMQP_URL=... ruby publish.rb < save.json        (gem install bunny)
require "bunny"
require "json"
require "securerandom"
require "timeout"

connection = Bunny.new(ENV.fetch("AMQP_URL")).start
channel = connection.create_channel
channel.confirm_select
# Not declared: a publisher needs no permission but to write to it.
exchange = channel.direct("ipack.commands", durable: true, no_declare: true)
returned = false
exchange.on_return { returned = true }
# Listen before you send: the reply comes back on this channel.
replies = Queue.new
channel.basic_consume("amq.rabbitmq.reply-to", "", true) { |_, _, body| replies << body }
exchange.publish(
  $stdin.binmode.read,
  routing_key: "save-connector-details.v1",
  message_id: SecureRandom.uuid, # keep it for a repeat: the same id takes effect once
  type: "SaveConnectorDetails.v1",
  content_type: "application/json",
  persistent: true,
  app_id: "example-ruby",
  reply_to: "amq.rabbitmq.reply-to",
  mandatory: true
)
# The return of a message that reaches no queue comes before its confirm.
abort "the command was not accepted" if !channel.wait_for_confirms || returned
begin
  reply = Timeout.timeout(10) { replies.pop }
rescue Timeout::Error
  abort "confirmed, but not answered yet; repeating with the same id is safe"
end
puts JSON.pretty_generate(JSON.parse(reply))
connection.close
