"""The parts of the HTML report: what each section says, and the template, style and charts."""
