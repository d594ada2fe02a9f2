"""The `engraph` command as the file that spark-submit wants: SparkApplication's `mainApplicationFile`."""

from flows.command_line import main

if __name__ == "__main__":
    main()
