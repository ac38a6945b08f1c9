"""Between messages and values: reads and checks requests, writes replies. Knows no service and no served model."""
