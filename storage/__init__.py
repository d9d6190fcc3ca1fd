"""The ground floor's second room: where files lie, and how they are read and written whatever goes wrong on the way."""
