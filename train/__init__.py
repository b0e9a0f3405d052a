"""Training correctors: from preference data to an adapter that the gateway serves. Nothing else imports this."""
