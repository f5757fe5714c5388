"""Optional parts that an application can add; nothing else imports them."""
