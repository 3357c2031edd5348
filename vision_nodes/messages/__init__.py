"""Camera messages -> arrays, results -> messages. `from_ros` reads fields only, so live and bag messages share it."""
