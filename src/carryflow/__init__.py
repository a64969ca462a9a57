"""Learn, prove, serve and trade the crypto funding carry."""
