"""The MCP server of mcp_tools.py; it speaks over stdin and stdout."""

from mcp.server.fastmcp import FastMCP

server = FastMCP("weather", log_level="WARNING")


@server.tool()
def get_weather(city: str) -> str:
    """Get the weather of a city."""
    return f"It is sunny in {city}, 21 degrees."


@server.tool()
def get_forecast(city: str, days: int) -> list[str]:
    """Get the forecast of a city for the next days."""
    return [f"{city}, day {day}: {18 + day} degrees" for day in range(1, days + 1)]


if __name__ == "__main__":
    server.run()
