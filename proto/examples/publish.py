# AMQP_URL=... python3 publish.py < save.json        (pip install pika)
import json, os, sys, uuid
import pika

replies = []
connection = pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"]))
channel = connection.channel()
channel.confirm_delivery()
# Consume before you publish: the reply arrives on this channel.
channel.basic_consume("amq.rabbitmq.reply-to", lambda *reply: replies.append(reply[3]), auto_ack=True)
# With confirms and mandatory, this raises unless the command is safe in the queue.
channel.basic_publish(
    "ipack.commands",
    "save-connector-details.v1",
    sys.stdin.buffer.read(),
    pika.BasicProperties(
        message_id=str(uuid.uuid4()),  # keep it for a retry: a command id takes effect only once
        type="SaveConnectorDetails.v1",
        content_type="application/json",
        delivery_mode=2,
        app_id="example-python",
        reply_to="amq.rabbitmq.reply-to",
    ),
    mandatory=True,
)
connection.process_data_events(time_limit=0)
connection.call_later(10, lambda: sys.exit("confirmed, but no reply yet; a retry with the same id is safe"))
while not replies:
    connection.process_data_events(time_limit=1)
print(json.dumps(json.loads(replies[0]), indent=2))
connection.close()
