"""Ways to run the gateway's parts on what others have built. Nothing needs it."""
