# AMQP_URL=... ruby publish.rb < save.json        (gem install bunny)
require "bunny"
require "json"
require "securerandom"
require "timeout"

connection = Bunny.new(ENV.fetch("AMQP_URL")).start
channel = connection.create_channel
channel.confirm_select
# Don't declare the exchange: a publisher only has the permission to write to it.
exchange = channel.direct("ipack.commands", durable: true, no_declare: true)
returned = false
exchange.on_return { returned = true }
# Consume before you publish: the reply arrives on this channel.
replies = Queue.new
channel.basic_consume("amq.rabbitmq.reply-to", "", true) { |_, _, body| replies << body }
exchange.publish(
  $stdin.binmode.read,
  routing_key: "save-connector-details.v1",
  message_id: SecureRandom.uuid, # keep it for a retry: a command id takes effect only once
  type: "SaveConnectorDetails.v1",
  content_type: "application/json",
  persistent: true,
  app_id: "example-ruby",
  reply_to: "amq.rabbitmq.reply-to",
  mandatory: true
)
# If no queue received the message, the broker returns it before it confirms it.
abort "the command was not accepted" if !channel.wait_for_confirms || returned
begin
  reply = Timeout.timeout(10) { replies.pop }
rescue Timeout::Error
  abort "confirmed, but no reply yet; a retry with the same id is safe"
end
puts JSON.pretty_generate(JSON.parse(reply))
connection.close
