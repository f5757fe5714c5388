"""Parts that applications may add; nothing else imports them."""
