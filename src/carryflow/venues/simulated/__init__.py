"""An exchange on this machine: it plays a tape and speaks Binance's REST and websocket protocols."""
