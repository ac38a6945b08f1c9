"""How a client names itself to a server that asks for no tokens."""

NAME_KEY = (
    "x-client-name"  # in the metadata of every RPC; where the server asks for tokens, the token says the name
)
