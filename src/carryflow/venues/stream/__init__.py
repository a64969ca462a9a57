"""What a venue tells without being asked: books and marks over websockets, and bars as they close."""
